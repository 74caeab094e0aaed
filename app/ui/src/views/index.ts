// The views: a row and a folder each. Each is loaded when it is first shown.
import type { ComponentType } from "preact";
import type { IconName } from "../components/icon.tsx";

export interface View {
  /** Of its URL; with a "/" at its end whatever comes behind belongs to it. */
  path: string;
  title: string;
  label: string;
  /** Views with an icon are in the navigation. */
  icon?: IconName;
  /** After g. */
  key?: string;
  /** The view of the navigation that this one belongs to. */
  below?: string;
  load: () => Promise<{ default: ComponentType }>;
}

export const VIEWS: readonly View[] = [
  { path: "/", title: "Stretto", label: "Home", load: () => import("./home/index.tsx") },
  { path: "/search", title: "Search", label: "Search", icon: "search", key: "s", load: () => import("./search/index.tsx") },
  { path: "/services", title: "Services", label: "Services", icon: "map", key: "v", load: () => import("./services/index.tsx") },
  { path: "/charts", title: "Metrics", label: "Metrics", icon: "chart", key: "m", load: () => import("./metrics/index.tsx") },
  { path: "/compare", title: "Compare", label: "Compare", icon: "compare", key: "c", load: () => import("./compare/index.tsx") },
  { path: "/status", title: "Status", label: "Status", icon: "heart", key: "u", load: () => import("./status/index.tsx") },
  { path: "/start", title: "First trace", label: "First trace", key: "f", load: () => import("./start/index.tsx") },
  { path: "/trace/", title: "Trace", label: "Trace", below: "/search", load: () => import("./trace/index.tsx") },
];

export function viewOf(path: string): View | undefined {
  return VIEWS.find((one) => (one.path !== "/" && one.path.endsWith("/") ? path.startsWith(one.path) : path === one.path));
}
