/** Follows the pointer from where it went down on an element until it is let go. */
export function drag(down: PointerEvent, onMove: (moved: PointerEvent) => void): void {
  const handle = down.currentTarget as HTMLElement;
  handle.setPointerCapture(down.pointerId);
  const onUp = () => {
    handle.removeEventListener("pointermove", onMove);
    handle.removeEventListener("pointerup", onUp);
  };
  handle.addEventListener("pointermove", onMove);
  handle.addEventListener("pointerup", onUp);
}
