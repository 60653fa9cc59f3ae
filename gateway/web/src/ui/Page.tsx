// The whole page: who is not logged in sees the entrance, an invite asks first, everybody else is in.
import { route } from "../store/route";
import { AuthPage } from "./AuthPage";
import { useApp } from "./context";
import { OverlayHost } from "./dialogs/Overlay";
import { LiveRegion } from "./LiveRegion";
import { Notices } from "./Notices";
import { Shell } from "./Shell";
import { InvitePage } from "./Welcome";

export function Page() {
  const app = useApp();
  const isIn = app.isLoggedIn.value;
  return (
    <>
      {!isIn ? <AuthPage /> : route.value.page === "invite" && app.state.isReady.value ? <InvitePage /> : <Shell />}
      {isIn && <OverlayHost />}
      {isIn && <LiveRegion />}
      <Notices />
    </>
  );
}
