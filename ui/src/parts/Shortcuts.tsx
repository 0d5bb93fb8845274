// The keys that work everywhere, in a dialog of their own (`?`).
import { useEffect, useRef } from "react";
import { type Key, useT } from "../i18n";
import { setSingleKeys, useSingleKeys } from "../keys";

const ROWS: { keys: string[]; word: Key }[] = [
  { keys: ["/", "Ctrl K"], word: "keys.search" },
  { keys: ["g n", "g i", "g m", "g e", "g x", "g a"], word: "keys.pages" },
  { keys: ["[", "]"], word: "keys.time" },
  { keys: ["t"], word: "keys.table" },
  { keys: ["p"], word: "keys.panel" },
  { keys: ["↑", "↓"], word: "keys.rows" },
  { keys: ["← ↑ → ↓", "+", "−", "0"], word: "keys.map" },
  { keys: ["Esc"], word: "keys.escape" },
  { keys: ["?"], word: "keys.help" },
];

export function Shortcuts({ onClose }: { onClose: () => void }) {
  const t = useT();
  const single = useSingleKeys();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside the box closes it; Esc does the same
    <dialog
      ref={dialog}
      className="palette keys"
      aria-labelledby="keys-h"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div className="kbox">
        <h2 id="keys-h">{t("keys.title")}</h2>
        <dl>
          {ROWS.map((row) => (
            <div key={row.word}>
              <dt>
                {row.keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{t(row.word)}</dd>
            </div>
          ))}
        </dl>
        <label className="ksw">
          <input type="checkbox" checked={single} onChange={(event) => setSingleKeys(event.target.checked)} />
          {t("keys.single")}
        </label>
        <form method="dialog">
          <button type="submit" className="btn">
            {t("keys.close")}
          </button>
        </form>
      </div>
    </dialog>
  );
}
