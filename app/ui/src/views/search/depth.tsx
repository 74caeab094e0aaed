import { Segments } from "../../components/basics.tsx";
import { setQuery } from "../../router.ts";

/** Whether only the spans that match are compared, or all spans of their traces. every: what the second one does, in a sentence. */
export const Depth = ({ deep, every }: { deep: boolean; every: string }) => (
  <Segments<"" | "1">
    label="Which spans are compared"
    value={deep ? "1" : ""}
    choices={[
      { value: "", label: "Root spans", title: "The spans that match" },
      { value: "1", label: "All their spans", title: every },
    ]}
    onChange={(value) => setQuery({ deep: value || null })}
  />
);
