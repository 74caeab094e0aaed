import { useEffect } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { TagNames } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { Problem, Progress } from "../../components/basics.tsx";
import { navigate } from "../../router.ts";

/** Where there are spans, the search; else how to send some. */
export default function Home() {
  const names = useQuery("any spans", (signal) =>
    getJson<TagNames>("/api/v2/search/tags", { params: { scope: "resource", limit: 1 }, signal }),
  );
  useEffect(() => {
    if (names.data) navigate(names.data.scopes?.length ? "/search" : "/start", { replace: true });
  }, [names.data]);
  return names.error ? <Problem error={names.error} retry={names.reload} /> : <Progress on />;
}
