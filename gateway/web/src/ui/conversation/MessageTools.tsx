// What can be done with a message. Shown while the pointer or the focus is on it.
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Channel, Message } from "../../api/types";
import { Permission } from "../../store/permissions";
import { useApp } from "../context";
import { PencilIcon, ReplyIcon, SmileIcon, TrashIcon } from "../icons";
import { overlay, startEdit, startReply } from "../layout";
import type { PickerProps } from "./ReactionPicker";

interface Props {
  message: Message;
  channel: Channel;
  isPicking: boolean;
  onPicking: (isPicking: boolean) => void;
}

export function MessageTools({ message, channel, isPicking, onPicking }: Props) {
  const app = useApp();
  const { state } = app;
  const button = useRef<HTMLButtonElement>(null);
  const isMine = message.author.id === state.me.value?.id;
  const mayDelete = isMine || state.may(channel, Permission.ManageMessages);
  const pick = (emoji: string): void => {
    onPicking(false);
    const known = message.reactions?.find((one) => one.emoji.id === null && one.emoji.name === emoji);
    void app.toggleReaction(message, { id: null, name: emoji }, !known?.me);
  };
  return (
    <div class="tools" role="toolbar" aria-label="Message">
      {state.may(channel, Permission.AddReactions) && (
        <button ref={button} type="button" class="icon-button" aria-label="React" title="React" aria-expanded={isPicking} onClick={() => onPicking(!isPicking)}>
          <SmileIcon />
        </button>
      )}
      {state.may(channel, Permission.SendMessages) && (
        <button type="button" class="icon-button" aria-label="Reply" title="Reply" onClick={() => startReply(message)}>
          <ReplyIcon />
        </button>
      )}
      {isMine && (
        <button type="button" class="icon-button" aria-label="Edit" title="Edit" onClick={() => startEdit(message)}>
          <PencilIcon />
        </button>
      )}
      {mayDelete && (
        <button type="button" class="icon-button icon-danger" aria-label="Delete" title="Delete" onClick={() => (overlay.value = { kind: "delete", message })}>
          <TrashIcon />
        </button>
      )}
      {isPicking && <LazyPicker anchor={button.current} onPick={pick} onClose={() => onPicking(false)} />}
    </div>
  );
}

/** The picker's emoji and names are loaded when it is first opened. */
export function LazyPicker(props: PickerProps) {
  const [Picker, setPicker] = useState<ComponentType<PickerProps> | null>(null);
  useEffect(() => {
    let isCurrent = true;
    import("./ReactionPicker").then((module) => isCurrent && setPicker(() => module.ReactionPicker), props.onClose);
    return () => void (isCurrent = false);
  }, []);
  return Picker ? <Picker {...props} /> : null;
}
