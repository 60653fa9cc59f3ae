// Reactions under a message: a press adds or takes back mine, the hint names who reacted.
import { useState } from "preact/hooks";
import type { Channel, Message, Reaction } from "../../api/types";
import { Permission } from "../../store/permissions";
import { useApp } from "../context";

/** The path form of an emoji: its characters, or name:id for one of a guild's own. */
function pathName(reaction: Reaction): string {
  return reaction.emoji.id ? `${reaction.emoji.name}:${reaction.emoji.id}` : reaction.emoji.name;
}

export function Reactions({ message, channel }: { message: Message; channel: Channel }) {
  const reactions = message.reactions ?? [];
  if (reactions.length === 0) return null;
  return (
    <div class="reactions" role="group" aria-label="Reactions">
      {reactions.map((reaction) => (
        <ReactionChip key={pathName(reaction)} message={message} channel={channel} reaction={reaction} />
      ))}
    </div>
  );
}

function ReactionChip({ message, channel, reaction }: { message: Message; channel: Channel; reaction: Reaction }) {
  const app = useApp();
  const [who, setWho] = useState<string | null>(null);
  const label = reaction.emoji.id ? `:${reaction.emoji.name}:` : reaction.emoji.name;
  const ask = async (): Promise<void> => {
    const users = await app.rest.reactors(channel.id, message.id, pathName(reaction)).catch(() => []);
    const names = users.map((user) => app.state.nameOf(user, channel.guild_id));
    const more = reaction.count - names.length;
    if (names.length > 0) setWho(`${names.join(", ")}${more > 0 ? ` and ${more} more` : ""} reacted with ${label}`);
  };
  const mayReact = reaction.me || app.state.may(channel, Permission.AddReactions);
  return (
    <button
      type="button"
      class="reaction"
      aria-pressed={reaction.me}
      aria-label={`${label}, ${reaction.count}`}
      title={who ?? label}
      disabled={!mayReact}
      onPointerEnter={() => void ask()}
      onClick={() => void app.toggleReaction(message, reaction.emoji, !reaction.me)}
    >
      <span class="reaction-emoji">{label}</span>
      <span class="reaction-count">{reaction.count}</span>
    </button>
  );
}
