// A button that opens a short list of things to do; closes when one is done, on Esc, and when the focus leaves.
import { useRef } from "react";

export function Menu({ label, items }: { label: string; items: { name: string; run: () => void }[] }) {
  const box = useRef<HTMLDetailsElement>(null);
  const close = () => {
    if (box.current) box.current.open = false;
  };
  return (
    <details
      ref={box}
      className="menu"
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) close();
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !box.current?.open) return;
        event.preventDefault();
        close();
        box.current.querySelector("summary")?.focus();
      }}
    >
      <summary className="btn pick">{label}</summary>
      <ul>
        {items.map((item) => (
          <li key={item.name}>
            <button
              type="button"
              onClick={() => {
                close();
                item.run();
              }}
            >
              {item.name}
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}
