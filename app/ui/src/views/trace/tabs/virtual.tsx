// A list of which only the rows in view exist.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const HEIGHT_MAX_PX = 8_000_000;

interface Props {
  count: number;
  rowPx: number;
  row: (index: number) => ComponentChildren;
  /** Roles and labels of the frame. */
  label: string;
  role: "table" | "region" | "treegrid";
  class?: string;
  /** Stays at the top. */
  head?: ComponentChildren;
  /** Is scrolled into view when it changes. */
  active?: number;
  onKeyDown?: (event: KeyboardEvent) => void;
}

export function Virtual({ count, rowPx, row, label, role, head, active, onKeyDown, ...rest }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 0 });
  useLayoutEffect(() => {
    const element = frame.current!;
    const update = () => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(update);
    observer.observe(element);
    update();
    element.addEventListener("scroll", update, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", update);
    };
  }, []);
  const whole = count * rowPx;
  const space = Math.min(whole, HEIGHT_MAX_PX);
  const speed = whole > space ? (whole - view.height) / (space - view.height) : 1;
  const offset = Math.max(0, Math.min(view.top * speed, whole - view.height));
  useEffect(() => {
    if (active === undefined || active < 0 || !view.height) return;
    const [element, top] = [frame.current!, active * rowPx];
    if (top < offset || top + rowPx > offset + view.height) element.scrollTop = Math.max(0, top - view.height / 2) / speed;
  }, [active, view.height > 0]);
  const first = Math.floor(offset / rowPx);
  const last = Math.min(count, first + Math.ceil(view.height / rowPx) + 1);
  const rows: ComponentChildren[] = [];
  for (let index = first; index < last; index += 1) rows.push(row(index));
  return (
    <div class={`virtual ${rest.class ?? ""}`} ref={frame} role={role} aria-label={label} aria-rowcount={role === "region" ? undefined : count} tabIndex={0} onKeyDown={onKeyDown}>
      {head}
      <div role="presentation" style={{ height: `${space}px` }}>
        <div role={role === "region" ? "presentation" : "rowgroup"} class="virtual-rows" style={{ transform: `translateY(${view.top - (offset - first * rowPx)}px)` }}>
          {rows}
        </div>
      </div>
    </div>
  );
}
