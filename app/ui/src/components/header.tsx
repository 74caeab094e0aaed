import { useMemo } from "preact/hooks";
import { navigate } from "../router.ts";
import { type Shortcut, useShortcuts } from "../state/keys.ts";
import { BY_HAND, loginAsked, tenant } from "../state/session.ts";
import { THEMES, theme } from "../state/theme.ts";
import { zone, zoneLabel } from "../state/timezone.ts";
import { VIEWS, type View } from "../views/index.ts";
import { helpOpen } from "./help.tsx";
import { Icon, type IconName } from "./icon.tsx";

const THEME_ICONS: Record<string, IconName> = { auto: "auto", light: "sun", dark: "moon" };

function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length]!;
}

function nextZone(): void {
  zone.value = zone.value === "utc" ? "local" : "utc";
}

export function Header({ view }: { view: View | undefined }) {
  const shortcuts = useMemo<Shortcut[]>(
    () => [
      { keys: "?", what: "Show these keys", run: () => (helpOpen.value = true) },
      ...VIEWS.filter((one) => one.key).map((one) => ({
        keys: `g ${one.key}`,
        what: `Go to ${one.label}`,
        run: () => navigate(one.path),
      })),
      { keys: "t", what: "Theme: light, dark, as the system", run: nextTheme },
      { keys: "z", what: "Times: local or UTC", run: nextZone },
    ],
    [],
  );
  useShortcuts("Everywhere", shortcuts);
  return (
    <header class="header">
      <a class="brand" href="/" aria-label="Stretto">
        <Logo />
        <span>Stretto</span>
      </a>
      <nav class="nav" aria-label="Views">
        {VIEWS.filter((one) => one.icon).map((one) => (
          <a key={one.path} href={one.path} aria-current={isCurrent(one, view) ? "page" : undefined}>
            <Icon name={one.icon!} />
            {one.label}
          </a>
        ))}
      </nav>
      <div class="tools">
        <button type="button" class="button plain small" title={`Times in ${zoneLabel()}; click to change`} onClick={nextZone}>
          <Icon name="clock" />
          {zone.value === "utc" ? "UTC" : "Local"}
        </button>
        <button
          type="button"
          class="button plain icon"
          title={`Theme: ${theme.value}; click to change`}
          aria-label={`Theme: ${theme.value}`}
          onClick={nextTheme}
        >
          <Icon name={THEME_ICONS[theme.value]!} />
        </button>
        <button
          type="button"
          class={`button plain ${tenant.value ? "small" : "icon"}`}
          title="Tenant and token"
          onClick={() => (loginAsked.value = BY_HAND)}
        >
          <Icon name="user" />
          <span class="visually-hidden">Tenant and token </span>
          {tenant.value}
        </button>
        <button type="button" class="button plain icon" title="Keys (?)" aria-label="Keys" onClick={() => (helpOpen.value = true)}>
          <Icon name="help" />
        </button>
      </div>
    </header>
  );
}

/** A trace belongs to the search that it was found with. */
const isCurrent = (one: View, view: View | undefined): boolean => one === view || (view?.below !== undefined && view.below === one.path);

function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" fill="#0f766e" />
      <g fill="#fff">
        <rect x="6" y="8" width="20" height="4" rx="2" />
        <rect x="10" y="14" width="12" height="4" rx="2" opacity=".8" />
        <rect x="15" y="20" width="11" height="4" rx="2" opacity=".6" />
      </g>
    </svg>
  );
}
