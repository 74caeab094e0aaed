import "uplot/dist/uPlot.min.css";
import "./styles/app.css";
import { render } from "preact";
import { App } from "./app.tsx";
import { startRouter } from "./router.ts";
import { startKeys } from "./state/keys.ts";
import { startTheme } from "./state/theme.ts";

startTheme();
startKeys();
startRouter();
render(<App />, document.getElementById("root")!);
