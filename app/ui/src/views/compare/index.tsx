import { Empty } from "../../components/basics.tsx";

export default function View() {
  return <Empty title="compare" />;
}
