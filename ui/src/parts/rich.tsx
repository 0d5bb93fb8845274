// Sentences with a little markup: **strong**, `code`, !!critical!!; times in them are shown as the local clock. Everything a hub
// or the dictionary says in words is shown through this, or through `usePlain` where only plain text can stand.
import { useCallback } from "react";
import type { Text } from "../api/types";
import { cutAtTimes, plain } from "../format";
import { useText } from "../i18n";
import { useNow } from "../time/useTime";
import { Time } from "./Time";

const MARK = /(\*\*.+?\*\*|`.+?`|!!.+?!!)/g;

export function Rich({ text }: { text: string }) {
  return (
    <>
      {text.split(MARK).map((part, index) => {
        if (part.startsWith("**"))
          return (
            <b key={index}>
              <Timed text={part.slice(2, -2)} />
            </b>
          );
        // What is quoted stays as it is.
        if (part.startsWith("`")) return <code key={index}>{part.slice(1, -1)}</code>;
        if (part.startsWith("!!"))
          return (
            <span key={index} className="crit">
              <Timed text={part.slice(2, -2)} />
            </span>
          );
        return <Timed key={index} text={part} />;
      })}
    </>
  );
}

function Timed({ text }: { text: string }) {
  return cutAtTimes(text).map((part, index) => (typeof part === "number" ? <Time key={index} ms={part} /> : part));
}

/** Words for titles, labels and names: the language shown, no markup, local times. */
export function usePlain(): (text: Text | string | null | undefined) => string {
  const say = useText();
  const now = useNow();
  return useCallback((text) => plain(say(text), now), [say, now]);
}
