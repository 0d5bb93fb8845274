// Checks: a sentence each, what is normal beside it in grey.
import type { Check } from "../api/types";
import { clock } from "../format";
import { useT, useText } from "../i18n";
import { Rich } from "../parts/rich";
import { State } from "../parts/state";
import { useTime } from "../time/useTime";

export function CheckList({ checks }: { checks: readonly Check[] }) {
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
          </p>
        </li>
      ))}
    </ul>
  );
}
