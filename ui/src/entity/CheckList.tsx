// Checks: a sentence each, what is normal beside it in grey.
import type { Check } from "../api/types";
import { clock } from "../format";
import { useT, useText } from "../i18n";
import { AskWhy } from "../parts/AskWhy";
import { Rich } from "../parts/rich";
import { State } from "../parts/state";
import { useTime } from "../time/useTime";

export function CheckList({ checks, entity }: { checks: readonly Check[]; entity: string }) {
  const t = useT();
  const say = useText();
  const { now } = useTime();
  return (
    <ul className="chk">
      {checks.map((check) => (
        <li key={check.text.en}>
          <State state={check.state} />
          <p>
            <Rich text={say(check.text)} />{" "}
            {check.since_ms ? t("entity.check_since", { time: clock(check.since_ms, { now }) }) : null}{" "}
            <span className="dim">
              <Rich text={say(check.normal)} />
            </span>
            {check.metric && (check.state === "crit" || check.state === "warn") ? (
              <>
                {" "}
                <AskWhy entity={entity} metric={check.metric} what={say(check.text).replaceAll("**", "")} />
              </>
            ) : null}
          </p>
        </li>
      ))}
    </ul>
  );
}
