// Light, dark, or as the system has it.
import { computed, effect, signal } from "@preact/signals";
import { oneOf, stored } from "./stored.ts";

export type Theme = "auto" | "light" | "dark";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];

export const theme = stored<Theme>("local", "theme", "auto", oneOf(...THEMES));
const systemIsDark = signal(false);

/** What is shown: for what draws on a canvas, and cannot say it in CSS. */
export const isDark = computed(() => (theme.value === "auto" ? systemIsDark.value : theme.value === "dark"));

export function startTheme(): void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  systemIsDark.value = media.matches;
  media.addEventListener("change", () => {
    systemIsDark.value = media.matches;
  });
  effect(() => {
    document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
  });
}

/** The value of a CSS variable, for a canvas. Read `isDark.value` where it must be drawn anew. */
export function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
