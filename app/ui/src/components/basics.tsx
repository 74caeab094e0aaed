// What every view needs: what to show while there is nothing, when something is wrong, and small controls.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client.ts";
import { colourOf } from "../lib/colours.ts";
import { loginAsked } from "../state/session.ts";
import { isDark } from "../state/theme.ts";
import { Icon, type IconName } from "./icon.tsx";

export function Empty({ icon = "inbox", title, children }: { icon?: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h3>{title}</h3>
      {children}
    </div>
  );
}

const TITLES: Record<number, string> = {
  0: "No answer from the server",
  400: "The server does not understand this",
  401: "The server wants to know who asks",
  403: "This token may not see that",
  404: "Not found",
  422: "This is more than a query may take",
  429: "Too much at once",
  503: "Not all of the data can be read now",
  504: "The query took too long",
};

/** An error in the server's own words, and what can be done here. */
export function Problem({ error, retry }: { error: Error; retry?: () => void }) {
  const status = error instanceof ApiError ? error.status : -1;
  const wrongQuery = status === 400 && /^\d+:\d+: /.test(error.message);
  const asksLogin = status === 401 || status === 403;
  return (
    <div class="problem" role="alert">
      <Icon name="warn" />
      <div class="text">
        <h3>{wrongQuery ? "This query is wrong" : (TITLES[status] ?? "Something went wrong")}</h3>
        <p class={wrongQuery ? "mono" : undefined}>{error.message}</p>
      </div>
      {asksLogin && (
        <button type="button" class="button small" onClick={() => (loginAsked.value = error.message)}>
          Log in
        </button>
      )}
      {retry && (
        <button type="button" class="button small" onClick={retry}>
          <Icon name="reload" />
          Try again
        </button>
      )}
    </div>
  );
}

/** A line at the top of a card that moves while something is on its way. */
export const Progress = ({ on }: { on: boolean }) => (
  <div class={on ? "progress on" : "progress"} role="status" aria-live="polite">
    {on && <span class="visually-hidden">Loading</span>}
  </div>
);

export function Service({ name }: { name: string }) {
  return (
    <span class="service">
      <span class="dot" style={{ background: colourOf(name, isDark.value) }} />
      <span class="ellipsis">{name}</span>
    </span>
  );
}

export interface Choice<T extends string> {
  value: T;
  label: string;
  title?: string;
}

export function Segments<T extends string>(props: {
  label: string;
  value: T;
  choices: readonly Choice<T>[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="segments" role="group" aria-label={props.label}>
      {props.choices.map((one) => (
        <button
          key={one.value}
          type="button"
          title={one.title}
          aria-pressed={one.value === props.value}
          onClick={() => props.onChange(one.value)}
        >
          {one.label}
        </button>
      ))}
    </div>
  );
}

const COPIED_MS = 1500;

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), COPIED_MS);
  };
  return (
    <button type="button" class="button plain icon small" title={label} aria-label={done ? "Copied" : label} onClick={copy}>
      <Icon name={done ? "check" : "copy"} />
    </button>
  );
}

/** navigator.clipboard is there only over HTTPS and on this machine. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A button that opens something below it; it closes with Escape, and with a click elsewhere. */
export function Popover(props: {
  label: string;
  button: ComponentChildren;
  class?: string;
  children: (close: () => void) => ComponentChildren;
}) {
  const [open, setOpen] = useState(false);
  const anchor = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (!anchor.current?.contains(event.target as Node)) setOpen(false);
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      anchor.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [open]);
  return (
    <div class="menu-anchor" ref={anchor}>
      <button
        type="button"
        class={`button ${props.class ?? ""}`}
        title={props.label}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <span class="visually-hidden">{props.label} </span>
        {props.button}
      </button>
      {open && <div class="popover">{props.children(() => setOpen(false))}</div>}
    </div>
  );
}

/** The browser's own dialog: it keeps the focus, and Escape closes it. */
export function Dialog(props: { title: string; open: boolean; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (props.open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [props.open]);
  return (
    <dialog ref={dialog} onClose={props.onClose} aria-label={props.title}>
      {props.open && (
        <>
          <div class="dialog-head">
            <h2>{props.title}</h2>
            <button type="button" class="button plain icon" aria-label="Close" onClick={props.onClose}>
              <Icon name="close" />
            </button>
          </div>
          {props.children}
        </>
      )}
    </dialog>
  );
}
