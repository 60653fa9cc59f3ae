// The page begins here.
import { render } from "preact";
import { App } from "./store/app";
import { startRouting } from "./store/route";
import "./styles/index.css";
import { AppContext } from "./ui/context";
import { Failsafe } from "./ui/Failsafe";
import { startIdle } from "./ui/idle";
import { startKeys } from "./ui/keys";
import { startNotifications } from "./ui/notifications";
import { Page } from "./ui/Page";
import { startTitle } from "./ui/title";

startRouting();
const app = new App();
app.start();
startKeys(app);
startTitle(app);
startIdle(app);
startNotifications(app);

const root = document.getElementById("app");
if (root) {
  render(
    <AppContext.Provider value={app}>
      <Failsafe>
        <Page />
      </Failsafe>
    </AppContext.Provider>,
    root,
  );
}
