// The dialog that is open, if one is.
import { overlay } from "../layout";
import { AddGuildDialog, CreateChannelDialog, InviteDialog } from "./guilds";
import { QuickSwitcher } from "./QuickSwitcher";
import { DeleteDialog, KeysDialog, PersonDialog, SettingsDialog } from "./small";

export function OverlayHost() {
  const open = overlay.value;
  switch (open?.kind) {
    case undefined:
      return null;
    case "create-guild":
      return <AddGuildDialog key="create" joins={false} />;
    case "join-guild":
      return <AddGuildDialog key="join" joins />;
    case "create-channel":
      return <CreateChannelDialog guild={open.guild} />;
    case "invite":
      return <InviteDialog channel={open.channel} />;
    case "delete":
      return <DeleteDialog message={open.message} />;
    case "person":
      return <PersonDialog user={open.user} guild={open.guild} />;
    case "keys":
      return <KeysDialog />;
    case "switcher":
      return <QuickSwitcher />;
    case "settings":
      return <SettingsDialog />;
  }
}
