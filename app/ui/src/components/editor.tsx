// The TraceQL editor: CodeMirror in a shadow root, since the page's policy allows no style elements in the document.
import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState, Prec, RangeSetBuilder } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, keymap, placeholder } from "@codemirror/view";
import { useEffect, useRef } from "preact/hooks";
import { isDark } from "../state/theme.ts";
import { completions } from "../traceql/complete.ts";
import type { Place } from "../traceql/error.ts";
import { FUNCTIONS, lex } from "../traceql/lex.ts";
import { editorTheme } from "./editor_theme.ts";

interface Props {
  value: string;
  label: string;
  hint?: string;
  /** Where the query is wrong. */
  error?: Place | undefined;
  onChange: (text: string) => void;
  /** Enter. */
  onRun: () => void;
}

const FUNCTION_NAMES = new Set(FUNCTIONS.map(([text]) => text.slice(0, text.indexOf("("))));

function marks(view: EditorView): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (const token of lex(view.state.doc.toString())) {
    const name = FUNCTION_NAMES.has(token.text) ? "function" : token.kind;
    builder.add(token.from, token.to, Decoration.mark({ class: `tok-${name}` }));
  }
  return builder.finish();
}

const colours = ViewPlugin.fromClass(
  class {
    decorations: DecorationSet;

    constructor(view: EditorView) {
      this.decorations = marks(view);
    }

    update(update: ViewUpdate): void {
      if (update.docChanged) this.decorations = marks(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

export function Editor(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const theme = useRef(new Compartment());
  // Texts that were told and have not come back as `value`: whoever types fast is ahead of it.
  const told = useRef<string[]>([]);

  useEffect(() => {
    const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: "open" });
    const run = () => {
      latest.current.onRun();
      return true;
    };
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: latest.current.value,
        extensions: [
          Prec.highest(keymap.of([{ key: "Mod-Enter", run }])),
          // Tab leaves the editor, as it leaves every field, unless a completion is offered.
          keymap.of([
            { key: "Tab", run: acceptCompletion },
            ...completionKeymap,
            { key: "Enter", run },
            { key: "Shift-Enter", run: (target) => (target.dispatch(target.state.replaceSelection("\n")), true) },
            ...closeBracketsKeymap,
            ...historyKeymap,
            ...defaultKeymap,
          ]),
          history(),
          closeBrackets(),
          bracketMatching(),
          autocompletion({ override: [completions], icons: false, activateOnTyping: true, defaultKeymap: false }),
          colours,
          lintGutter({ hoverTime: 100 }),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": props.label, spellcheck: "false", autocapitalize: "off" }),
          placeholder(props.hint ?? ""),
          theme.current.of(editorTheme(isDark.value)),
          EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            const text = update.state.doc.toString();
            if (text === latest.current.value) return;
            told.current.push(text);
            latest.current.onChange(text);
          }),
        ],
      }),
    });
    view.current = editor;
    const focus = () => editor.focus();
    host.current!.addEventListener("focus-editor", focus);
    return () => editor.destroy();
  }, []);

  useEffect(() => {
    const editor = view.current;
    const own = told.current.indexOf(props.value);
    if (own >= 0) {
      told.current.splice(0, own + 1);
      return;
    }
    told.current = [];
    if (!editor || editor.state.doc.toString() === props.value) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: props.value } });
  }, [props.value]);

  useEffect(() => {
    view.current?.dispatch({ effects: theme.current.reconfigure(editorTheme(isDark.value)) });
  }, [isDark.value]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const end = editor.state.doc.length;
    const found: Diagnostic[] = props.error
      ? [{ from: Math.min(props.error.from, end), to: Math.min(props.error.to, end), severity: "error", message: props.error.message }]
      : [];
    editor.dispatch(setDiagnostics(editor.state, found));
  }, [props.error]);

  return <div class="editor" ref={host} data-editor={props.label} />;
}

/** Puts the cursor into the editor of the view. label: which one, where there are several */
export function focusEditor(label?: string): void {
  document.querySelector(label ? `[data-editor="${label}"]` : "[data-editor]")?.dispatchEvent(new Event("focus-editor"));
}
