// The frame of all views: navigation, theme, zone, who asks, keys.
import { useEffect } from "preact/hooks";
import { Empty } from "./components/basics.tsx";
import { Header } from "./components/header.tsx";
import { Help } from "./components/help.tsx";
import { Login } from "./components/login.tsx";
import { path } from "./router.ts";
import { loginCount } from "./state/session.ts";
import { viewOf } from "./views/index.ts";
import { LazyView } from "./views/lazy.tsx";

export function App() {
  const view = viewOf(path.value);
  useEffect(() => {
    document.title = view ? `${view.title} · Stretto` : "Stretto";
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" data-outside>
        Skip to the content
      </a>
      <Header view={view} />
      <main class="main" id="main" tabIndex={-1} key={loginCount.value}>
        {view ? (
          <LazyView view={view} />
        ) : (
          <Empty icon="search" title="There is no such page">
            <p>
              Go to the <a href="/search">search</a>.
            </p>
          </Empty>
        )}
      </main>
      <Login />
      <Help />
    </>
  );
}
