import { describe, expect, test } from "vitest";
import type { Member, Role, Status } from "../../src/api/types";
import { groupMembers, sortByName } from "../../src/ui/memberLines";
import { user } from "./fake";

const member = (id: string, name: string, roles: string[] = []): Member => ({ user: user(id, name), roles, joined_at: "" });
const role = (id: string, position: number, hoist = true): readonly [string, Role] => [id, { id, name: `role ${id}`, color: 0, hoist, position, permissions: "0" }];
const show = (members: Member[], roles: (readonly [string, Role])[], online: Record<string, Status>): string[] =>
  groupMembers(sortByName(members), new Map(roles), (id) => online[id] ?? "offline").map((line) => ("heading" in line ? `${line.heading} ${line.count}` : line.name));

describe("the member column", () => {
  test("groups by the highest hoisted role, then online, then offline, by name", () => {
    const members = [member("1", "zoe"), member("2", "Ada", ["r1", "r2"]), member("3", "bob", ["r2"]), member("4", "cleo", ["r2"]), member("5", "eve", ["r3"])];
    const roles = [role("r1", 5), role("r2", 3), role("r3", 9, false)];
    expect(show(members, roles, { 1: "online", 2: "idle", 3: "dnd", 5: "online" })).toEqual(["role r1 1", "Ada", "role r2 1", "bob", "Online 2", "eve", "zoe", "Offline 1", "cleo"]);
  });

  test("of twenty thousand is sorted and grouped within a blink", () => {
    const members = Array.from({ length: 20_000 }, (_, index) => member(String(index), `user-${(index * 7_919) % 20_000}`));
    const start = performance.now();
    expect(show(members, [], { 1: "online" }).length).toBe(20_002);
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});
