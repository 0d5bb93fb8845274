// The query field: completion from metadata and labels, Enter runs, Shift and Enter breaks the line.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "react";
import { prom } from "../api/client";
import { useMetadata } from "../api/queries";
import { useT } from "../i18n";
import { apply, complete, type Option, placeAt } from "./complete";

const WORDS = {
  metric: "complete.metric",
  label: "complete.label",
  value: "complete.value",
  function: "complete.function",
  keyword: "complete.keyword",
} as const;

export function Editor({ value, onRun, autoFocus }: { value: string; onRun: (query: string) => void; autoFocus: boolean }) {
  const t = useT();
  const id = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(value);
  const [caret, setCaret] = useState(value.length);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const wanted = useRef<number | null>(null);
  useEffect(() => setText(value), [value]);

  const place = useMemo(() => placeAt(text, caret), [text, caret]);
  const metadata = useMetadata();
  const metric = place.kind === "label" || place.kind === "value" ? place.metric : null;
  const label = place.kind === "value" ? place.label : null;
  const labels = useQuery({
    queryKey: ["prom", "labels", metric],
    queryFn: async ({ signal }) => (await prom<string[]>("/labels", { "match[]": metric }, signal)).data,
    enabled: open && place.kind === "label",
    staleTime: 60_000,
  });
  const values = useQuery({
    queryKey: ["prom", "values", label, metric],
    queryFn: async ({ signal }) =>
      (await prom<string[]>(`/label/${encodeURIComponent(label!)}/values`, { "match[]": metric }, signal)).data,
    enabled: open && label !== null,
    staleTime: 30_000,
  });
  const options = useMemo(() => {
    if (!open) return [];
    const metrics = Object.entries(metadata.data ?? {}).map(([name, rows]) => ({
      name,
      help: rows[0]?.help ?? "",
      unit: rows[0]?.unit ?? "",
      type: rows[0]?.type ?? "",
    }));
    return complete(place, { metrics, labels: labels.data ?? [], values: values.data ?? [] });
  }, [open, place, metadata.data, labels.data, values.data]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
    if (wanted.current !== null) {
      area.setSelectionRange(wanted.current, wanted.current);
      wanted.current = null;
    }
  }, [text]);

  const choose = (option: Option | undefined) => {
    if (!option) return;
    const next = apply(text, caret, place, option);
    wanted.current = next.caret;
    setText(next.text);
    setCaret(next.caret);
    setOpen(false);
    field.current?.focus();
  };
  const run = () => {
    setOpen(false);
    onRun(text.trim());
  };
  const onKeyDown = (event: React.KeyboardEvent) => {
    const listed = options.length > 0;
    if (event.key === "ArrowDown" && listed) setChosen((old) => (old + 1) % options.length);
    else if (event.key === "ArrowUp" && listed) setChosen((old) => (old + options.length - 1) % options.length);
    else if ((event.key === "Tab" || event.key === "Enter") && listed && !event.shiftKey && !event.ctrlKey)
      choose(options[chosen]);
    else if (event.key === "Enter" && !event.shiftKey) run();
    else if (event.key === "Escape" && listed) setOpen(false);
    // Out of the field, so that the keys of the page work again.
    else if (event.key === "Escape") field.current?.blur();
    else if (event.key === " " && event.ctrlKey) setOpen(true);
    else return;
    event.preventDefault();
  };
  return (
    <div className="editor">
      <textarea
        ref={field}
        className="field mono"
        rows={1}
        value={text}
        // biome-ignore lint/a11y/noAutofocus: an empty page has nothing else to do
        autoFocus={autoFocus}
        spellCheck={false}
        autoCapitalize="off"
        aria-label={t("explore.query")}
        placeholder={t("explore.placeholder")}
        aria-autocomplete="list"
        aria-haspopup="listbox"
        aria-controls={`${id}-list`}
        aria-activedescendant={options.length > 0 ? `${id}-${chosen}` : undefined}
        onChange={(event) => {
          setText(event.target.value);
          setCaret(event.target.selectionStart);
          setOpen(true);
          setChosen(0);
        }}
        onSelect={(event) => setCaret(event.currentTarget.selectionStart)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <button type="button" className="btn run" onClick={run}>
        {t("explore.run")} <kbd>↵</kbd>
      </button>
      <p className="sr" role="status">
        {options.length > 0 ? t("explore.options", { count: options.length }) : ""}
      </p>
      <div
        id={`${id}-list`}
        role="listbox"
        aria-label={t("explore.completion")}
        className={`comp ${options.length > 0 ? "" : "none"}`}
      >
        {options.map((option, index) => (
          <div
            key={option.kind + option.text}
            id={`${id}-${index}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === chosen}
            onPointerDown={(event) => {
              event.preventDefault();
              choose(option);
            }}
          >
            <code>{option.text}</code>
            <small>{option.note}</small>
            <span className="lab">{t(WORDS[option.kind])}</span>
          </div>
        ))}
      </div>
    </div>
  );
}
