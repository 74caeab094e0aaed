import type { Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";

/** The page's own colours: CSS variables reach into the shadow root. */
export function editorTheme(dark: boolean): Extension {
  return EditorView.theme(
    {
      "&": { fontSize: "13.5px", color: "var(--text)", backgroundColor: "transparent" },
      "&.cm-focused": { outline: "none" },
      ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
      ".cm-content": { padding: "7px 4px", caretColor: "var(--text)" },
      ".cm-cursor": { borderLeftColor: "var(--text)" },
      ".cm-placeholder": { color: "var(--text-3)" },
      ".cm-gutters": { display: "none" },
      "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground, ::selection": {
        backgroundColor: "var(--accent-soft)",
      },
      "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)", outline: "none" },
      ".cm-lintRange-error": {
        backgroundImage: "none",
        textDecoration: "underline wavy var(--danger-fill)",
        textUnderlineOffset: "3px",
        backgroundColor: "var(--danger-soft)",
      },
      ".cm-tooltip": {
        border: "1px solid var(--border)",
        borderRadius: "8px",
        backgroundColor: "var(--surface)",
        boxShadow: "var(--shadow-high)",
        overflow: "hidden",
      },
      ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12.5px", maxHeight: "260px", padding: "4px" },
      ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "3px 8px", borderRadius: "5px" },
      ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-soft)", color: "var(--text)" },
      ".cm-completionDetail": { color: "var(--text-3)", fontStyle: "normal", marginLeft: "12px" },
      ".cm-completionMatchedText": { textDecoration: "none", color: "var(--accent)", fontWeight: "650" },
      ".cm-tooltip-lint": { fontFamily: "var(--font)", fontSize: "13px", padding: "2px" },
      ".cm-diagnostic-error": { borderLeft: "3px solid var(--danger-fill)" },
      ".tok-string": { color: dark ? "#a5d6a7" : "#1b6e3c" },
      ".tok-number": { color: dark ? "#fbbf24" : "#8a4b00" },
      ".tok-operator": { color: "var(--text-3)" },
      ".tok-comment": { color: "var(--text-3)", fontStyle: "italic" },
      ".tok-word": { color: dark ? "#8ecbff" : "#1d4f91" },
      ".tok-function": { color: dark ? "#c4b5fd" : "#6d28d9" },
      ".tok-open, .tok-close": { color: "var(--text-2)" },
    },
    { dark },
  );
}
