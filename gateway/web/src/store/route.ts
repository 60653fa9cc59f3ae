// The address of the page: /, /invite/CODE, /channels/GUILD[/CHANNEL], /channels/@me[/CHANNEL].
import { signal } from "@preact/signals";
import type { Id } from "../api/types";

/** Stands in the address where a guild's id would, for direct messages. */
export const DIRECT = "@me";

export type Route =
  | { readonly page: "home" }
  | { readonly page: "invite"; readonly code: string }
  | { readonly page: "channels"; readonly guild: Id | typeof DIRECT; readonly channel: Id | null };

export function parseRoute(path: string): Route {
  const [head, first, second] = path.split("/").filter((part) => part !== "");
  if (head === "invite" && first) return { page: "invite", code: decodeURIComponent(first) };
  if (head === "channels" && first) return { page: "channels", guild: decodeURIComponent(first), channel: second ?? null };
  return { page: "home" };
}

export function pathOf(route: Route): string {
  if (route.page === "invite") return `/invite/${encodeURIComponent(route.code)}`;
  if (route.page === "channels") return `/channels/${route.guild}${route.channel ? `/${route.channel}` : ""}`;
  return "/";
}

export const route = signal<Route>({ page: "home" });

export function startRouting(): void {
  const read = (): void => {
    route.value = parseRoute(location.pathname);
  };
  addEventListener("popstate", read);
  read();
}

/** Goes to a place of the page; `replace` leaves no way back to where we were. */
export function go(target: Route, options: { replace?: boolean } = {}): void {
  const path = pathOf(target);
  if (path !== location.pathname) history[options.replace ? "replaceState" : "pushState"](null, "", path);
  route.value = target;
}
