import { signal } from "@preact/signals";
import { groups } from "../state/keys.ts";
import { Dialog } from "./basics.tsx";

export const helpOpen = signal(false);

export function Help() {
  return (
    <Dialog title="Keys" open={helpOpen.value} onClose={() => (helpOpen.value = false)}>
      <div class="stack">
        {groups.value.map((group) => (
          <section key={group.title} class="stack">
            <h3>{group.title}</h3>
            <dl class="key-list">
              {group.shortcuts.map((one) => (
                <>
                  <dt>
                    {one.keys.split(" ").map((key) => (
                      <kbd key={key}>{key}</kbd>
                    ))}
                  </dt>
                  <dd>{one.what}</dd>
                </>
              ))}
            </dl>
          </section>
        ))}
        <p class="faint">
          <a href="/licenses.txt" data-outside target="_blank" rel="noreferrer">
            Licences of what is in this page
          </a>
        </p>
      </div>
    </Dialog>
  );
}
