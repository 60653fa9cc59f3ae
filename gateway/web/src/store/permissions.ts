// What a member may do, by the documented algorithm: roles give, channel overwrites take and give back.
// The server decides; the page asks only to leave out buttons that would be refused.
import type { Channel, Id, Member, Role } from "../api/types";

export const Permission = {
  CreateInvite: 1n << 0n,
  Administrator: 1n << 3n,
  ManageChannels: 1n << 4n,
  AddReactions: 1n << 6n,
  ViewChannel: 1n << 10n,
  SendMessages: 1n << 11n,
  ManageMessages: 1n << 13n,
} as const;

const ALL = (1n << 64n) - 1n;

export interface Realm {
  readonly id: Id;
  readonly ownerId: Id;
  readonly roles: ReadonlyMap<Id, Role>;
}

export function guildPermissions(guild: Realm, member: Member | undefined): bigint {
  if (!member) return 0n;
  if (member.user.id === guild.ownerId) return ALL;
  let bits = BigInt(guild.roles.get(guild.id)?.permissions ?? "0");
  for (const id of member.roles) bits |= BigInt(guild.roles.get(id)?.permissions ?? "0");
  return (bits & Permission.Administrator) !== 0n ? ALL : bits;
}

export function channelPermissions(guild: Realm, channel: Channel, member: Member | undefined): bigint {
  let bits = guildPermissions(guild, member);
  if (!member || bits === ALL) return bits;
  const overwrites = channel.permission_overwrites ?? [];
  const everyone = overwrites.find((one) => one.id === guild.id);
  if (everyone) bits = (bits & ~BigInt(everyone.deny)) | BigInt(everyone.allow);
  let deny = 0n;
  let allow = 0n;
  for (const one of overwrites) {
    if (one.type !== 0 || one.id === guild.id || !member.roles.includes(one.id)) continue;
    deny |= BigInt(one.deny);
    allow |= BigInt(one.allow);
  }
  bits = (bits & ~deny) | allow;
  const own = overwrites.find((one) => one.type === 1 && one.id === member.user.id);
  if (own) bits = (bits & ~BigInt(own.deny)) | BigInt(own.allow);
  return bits;
}

export function allows(bits: bigint, permission: bigint): boolean {
  return (bits & permission) === permission;
}
