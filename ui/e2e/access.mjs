// What those need who do not see the page, use no mouse, forbid storage, or have many tabs of it. Against the fixture.
import { axe, settle } from "./browser.mjs";

const must = (truth, text) => {
  if (!truth) throw new Error(text);
};

/** The stand-in hub at an address: what it is to be, and a page of it. */
const at = (base) => ({
  mode: (name) => fetch(`${base}/__mode?set=${name}`),
  fail: (path) => fetch(`${base}/__fail${path ? `?path=${encodeURIComponent(path)}` : ""}`),
  streams: async (count) => {
    let open = -1;
    for (let times = 0; times < 300; times++) {
      ({ open } = await (await fetch(`${base}/__streams`)).json());
      if (open === count) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`${open} streams are open instead of ${count}`);
  },
  go: async (page, path) => {
    await page.goto(base + path);
    await settle(page);
  },
});
const hide = (page, hidden) =>
  page.evaluate((is) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => is });
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (is ? "hidden" : "visible") });
    // It bubbles, as the browser's own does: some listen at the window.
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  }, hidden);

/** What is told while nobody looks, or while not all can be known. */
export async function unwatched(test, base) {
  const { mode, fail, streams, go } = at(base);
  try {
    await mode("normal");
    await test("state hidden: a tab nobody looks at has no stream, asks for open incidents alone, and tells them", {}, async (page) => {
      await streams(0);
      await go(page, "/agent");
      await streams(1);
      await page.waitForFunction(() => document.title.startsWith("(1) "));
      await hide(page, true);
      await streams(0);
      const asked = [];
      page.on("request", (request) => asked.push(new URL(request.url())));
      await page.waitForRequest((request) => request.url().includes("/faults"), { timeout: 45_000 });
      must(
        asked.every((url) => url.pathname === "/api/v1/faults" && url.searchParams.get("state") === "open"),
        `asked for: ${asked.map((url) => url.pathname)}`,
      );
      const fresh = page.waitForRequest((request) => request.url().includes("/agent/budget"));
      await hide(page, false);
      await streams(1);
      await fresh;
      must((await page.locator(".stale").count()) === 0, "a tab that was hidden is told as lost");
    });

    await mode("quiet");
    await test("state blind: nothing is claimed while incidents could not be read again", { expected: [500] }, async (page) => {
      await go(page, "/");
      await page.locator("main h1", { hasText: "Nothing is wrong." }).waitFor();
      await fail("^/faults$");
      await page.locator("main h1", { hasText: "not known" }).waitFor({ timeout: 30_000 });
    });
    await fail("^/hosts$");
    await test("state blind: nothing is claimed while it could not be read which hosts report", {
      expected: [500],
    }, async (page) => {
      await page.goto(base);
      await page.locator("main h1", { hasText: "not known" }).waitFor();
    });
    await fail();
    await test("state blind: an answer for one host names it, and is none for a host that does not report", {}, async (page) => {
      await go(page, "/?host=db-1");
      await page.locator("main h1", { hasText: "Nothing is wrong on db-1." }).waitFor();
      await go(page, "/?host=nowhere");
      await page.locator("main h1", { hasText: "not known" }).waitFor();
      await page.locator("main .lead", { hasText: "it does not report" }).waitFor();
    });
    await mode("uneasy");
    await test(
      "state uneasy: above an amber service Now does not say that nothing is wrong, but which and why",
      {},
      async (page, problems) => {
        await go(page, "/");
        const head = await page.locator("main h1").first().textContent();
        must(/No incident is open, but 4 services or hosts are not as usual\./.test(head), `it says: ${head}`);
        await page.locator(".odd li", { hasText: "p99 left its normal range." }).first().waitFor();
        await page.locator(".odd li", { hasText: "Disk 100 %." }).waitFor();
        must((await page.locator(".odd li").count()) === 4, "not all of them are told");
        problems.push(...(await axe(page)));
        await go(page, "/?host=db-1");
        must(
          /but postgresql, db-1 are not as usual/.test(await page.locator("main h1").first().textContent()),
          "others are told too",
        );
      },
    );
    await test("state uneasy: that no service is hurt is not said above one that is", {}, async (page) => {
      await page.route(/\/api\/v1\/anomalies/, (route) =>
        route.fulfill({ json: { items: [{ host_name: "db-1" }], next_cursor: null } }),
      );
      await go(page, "/");
      const note = page.locator(".note", { hasText: "out of their normal range" });
      await note.waitFor();
      must(/nginx/.test(await note.textContent()), "the service whose latency is judged below is not named");
      must((await note.evaluate((one) => getComputedStyle(one).display)) === "block", "its words stand in columns");
    });
    await mode("quiet");
    await test("state quiet: since when nothing is wrong does not move with the clock", {}, async (page) => {
      await go(page, "/");
      const since = async () => Date.parse(await page.locator("main .lead time").first().getAttribute("datetime"));
      const before = await since();
      // No newer answer, only a later time.
      await page.route("**/api/v1/health", () => {});
      await page.evaluate(() => {
        const { now } = Date;
        Date.now = () => now() + 3_600_000;
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await page.locator("main .lead", { hasText: /1 h/ }).waitFor();
      must(Math.abs((await since()) - before) < 2000, "the start moved");
    });
  } finally {
    await mode("normal");
    await fail();
  }
}

export async function access(test, base) {
  const { mode, go } = at(base);
  try {
    await mode("normal");
    await test("state forbidden storage: everything works, and is forgotten", {}, async (page) => {
      await page.addInitScript(() => {
        for (const name of ["localStorage", "sessionStorage"])
          Object.defineProperty(window, name, {
            get() {
              throw new DOMException("denied", "SecurityError");
            },
          });
      });
      await go(page, "/");
      const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
      const before = await theme();
      await page
        .locator(".top button", { has: page.locator("svg") })
        .nth(-1)
        .click();
      must((await theme()) !== before, "the theme cannot be switched");
      await page.locator(".top .lang").click();
      await page.waitForFunction(() => document.documentElement.lang === "zh");
    });

    await test("journey: a page gone to is seen from its top, has the focus, and is said", {}, async (page) => {
      await go(page, "/");
      await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
      await page.locator(".seen a").click();
      await page.waitForURL(/\/agent/);
      await settle(page);
      must((await page.evaluate(() => window.scrollY)) === 0, "the page opens at its middle");
      must(await page.evaluate(() => document.activeElement.id === "main"), "the focus stays behind");
      await page.locator("#said", { hasText: "Agent" }).waitFor({ state: "attached" });
    });

    await test("journey: single keys can be switched off, and stay so", {}, async (page) => {
      await go(page, "/");
      await page.keyboard.press("?");
      await page.locator("dialog.keys input").uncheck();
      await page.keyboard.press("Escape");
      await page.reload();
      await settle(page);
      for (const key of ["t", "[", "/", "g", "m"]) await page.keyboard.press(key);
      must(new URL(page.url()).search === "" && new URL(page.url()).pathname === "/", `a key did something: ${page.url()}`);
      must((await page.locator("dialog").count()) === 0, "a key opened something");
      await page.keyboard.press("Control+k");
      await page.locator("dialog.palette[open]").waitFor();
    });

    await test("journey: search says how many are found, and none", {}, async (page, problems) => {
      await go(page, "/");
      await page.locator(".find").click();
      await page.locator(".pin input").fill("zzzz-nothing");
      await page.locator("dialog [role=status]", { hasText: "0 found" }).waitFor({ state: "attached" });
      problems.push(...(await axe(page)));
      // Beside the box.
      await page.mouse.click(5, 400);
      await page.locator("dialog").waitFor({ state: "detached" });
      must(await page.evaluate(() => document.activeElement.classList.contains("find")), "the focus is lost");
    });

    await test("journey: pictures are tables at the press of a button, with moments and values", {}, async (page, problems) => {
      await go(page, "/");
      await page.locator('.top button[aria-pressed="false"]').click();
      await page.waitForURL(/table=1/);
      await page.locator(".kpi table.tt tbody tr").nth(4).waitFor();
      must(/\d\d:\d\d/.test(await page.locator(".kpi .tt td").first().textContent()), "no moment stands in the table");
      must(/ms|s|µs/.test(await page.locator(".kpi .tt td.num").last().textContent()), "a value has no unit");
      problems.push(...(await axe(page)));
      await go(page, "/agent?table=1");
      must((await page.locator(".cost2 table.tt").count()) === 2, "the agent's cost has no tables");
    });

    await test("journey: a node of a zoomed map that gets the focus is in sight", {}, async (page) => {
      await go(page, "/map");
      const pane = page.locator(".panes section").first();
      await pane.locator(".node").first().waitFor();
      await pane.hover();
      for (let times = 0; times < 4; times++) await pane.locator(".zoom button").first().click();
      await pane.locator('.node[tabindex="0"]').focus();
      for (const key of ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"]) {
        await page.keyboard.press(key);
        const seen = await page.evaluate(() => {
          const node = document.activeElement.getBoundingClientRect();
          const box = document.activeElement.closest("svg").getBoundingClientRect();
          return (
            node.left > box.left - 14 && node.right < box.right + 14 && node.top > box.top - 14 && node.bottom < box.bottom + 14
          );
        });
        must(seen, `${key} leads out of sight`);
      }
    });

    await test("journey: a graph stays itself while new numbers come", {}, async (page) => {
      const canvas = () => page.evaluate(() => document.querySelector(".graph canvas") === window.plotted);
      const answer = () => page.waitForResponse((response) => response.url().includes("/query_range"), { timeout: 30_000 });
      await go(page, "/explore?q=gala_gopher_disk_w_await");
      await page.locator(".graph canvas").waitFor();
      await page.locator(".leg button").first().click();
      await page.locator('.leg button[aria-pressed="false"]').waitFor();
      await page.evaluate(() => {
        window.plotted = document.querySelector(".graph canvas");
      });
      await answer();
      await answer();
      must(await canvas(), "it was drawn anew, which ends what is being dragged");
    });

    await test("state many: what does not fit into a list is narrowed by the hub", {}, async (page) => {
      await page.route(/\/api\/v1\/entities\?/, async (route) => {
        const url = new URL(route.request().url());
        const response = await route.fetch();
        const body = await response.json();
        // Disks come after the first page of this hub.
        if (!url.searchParams.has("type")) {
          body.items = body.items.filter((one) => one.type !== "disk");
          body.next_cursor = "more";
        }
        await route.fulfill({ response, json: body });
      });
      await go(page, "/entities?type=disk");
      await page.locator(".vtr", { hasText: "sdb" }).waitFor();
    });

    await test(
      "state many: two thousand processes on the map are trays that open, reached by key",
      {},
      async (page, problems) => {
        await page.route(/\/api\/v1\/topology\/horizontal\?/, async (route) => {
          const response = await route.fetch();
          const body = await response.json();
          const one = body.nodes.find((node) => node.type === "proc");
          const long = "a-very-long-name-of-a-program-nobody-would-give";
          for (let index = 0; index < 2000; index++) {
            const host = `node-${index % 8}`;
            body.nodes.push({
              ...one,
              id: `${host}_proc_${index}`,
              name: `${long}-${index}`,
              machine_id: host,
              host_name: host,
              labels: { ...one.labels, comm: `${long}-${index}`, tgid: String(index) },
              badges: { anomalies: 0, severity: null },
            });
          }
          await route.fulfill({ response, json: body });
        });
        await go(page, "/map");
        const nodes = page.locator(".panes section").first().locator(".node");
        await nodes.first().waitFor();
        must((await nodes.count()) <= 1000, `${await nodes.count()} nodes are drawn`);
        problems.push(...(await axe(page)));
      },
    );

    await test("journey: what to do next stands beside the answer, until the incident is over", {}, async (page) => {
      await go(page, "/");
      await page.locator(".inc .do", { hasText: "Do next: Move data off the disk" }).waitFor();
      await go(page, "/incidents/f-1");
      await page.locator("main .do", { hasText: "Do next: Move data off the disk" }).waitFor();
      await page.route(/\/api\/v1\/faults\/f-1$/, async (route) => {
        const response = await route.fetch();
        const body = await response.json();
        await route.fulfill({ response, json: { ...body, state: "closed", closed_ms: Date.now() } });
      });
      await page
        .locator("main [role=status]", { hasText: "This incident is over." })
        .waitFor({ state: "attached", timeout: 30_000 });
      await page.locator("main .hd .meta", { hasText: "over; from" }).waitFor();
      must((await page.locator("main .do").count()) === 0, "it still tells what to do");
    });

    await test("journey: a page on paper is light, whole, and without what only a screen can do", {}, async (page) => {
      await go(page, "/?theme=dark");
      await page.emulateMedia({ media: "print" });
      const color = await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim());
      must(color === "#1c1c1a", `ink on paper is ${color}`);
      for (const one of [".top", ".rail", "main .btn"])
        must((await page.locator(one).filter({ visible: true }).count()) === 0, `${one} is on paper`);
      must(await page.locator("main h1").first().isVisible(), "the heading is not on paper");
    });

    await test("state slow: what waits is said once, however many charts wait", {}, async (page) => {
      await mode("slow");
      await page.goto(`${base}/incidents/f-1`);
      await page.locator("#said", { hasText: "Asking the hub" }).waitFor({ state: "attached" });
      must(
        (await page.locator("main .skel [role=status], main .skel[role=status]").count()) === 0,
        "each place speaks for itself",
      );
      await mode("normal");
    });

    await test("state tablet: at 1024 px every judged state of a service is in sight", { width: 1024 }, async (page) => {
      await go(page, "/");
      const cut = await page.locator(".svc").evaluate((one) => one.scrollWidth - one.clientWidth);
      must(cut <= 1, `the table is ${cut} px wider than its place`);
    });

    await test("state ahead: a moment that has not come is now", {}, async (page) => {
      await go(page, `/?at=${Date.now() + 3_600_000}`);
      await page.locator(".tbar .live").waitFor();
    });

    await test(
      "state narrow: nothing is cut off at 320 px, and everything can be hit",
      { width: 320, height: 640 },
      async (page, problems) => {
        for (const path of [
          "/",
          "/incidents",
          "/incidents/f-1",
          "/map",
          "/entities",
          "/entities/d1_disk_sdb",
          "/explore",
          "/agent",
        ]) {
          await go(page, path);
          const cut = await page.evaluate(() =>
            [...document.querySelectorAll("main *, header *, nav *")]
              .filter((one) => !one.closest(".scroll, .picbox, .graph, .sr, .plist") && one.getBoundingClientRect().width > 0)
              .filter((one) => one.getBoundingClientRect().right > window.innerWidth + 1)
              .map((one) => `${one.tagName} ${one.textContent.slice(0, 40)}`)
              .slice(0, 3),
          );
          if (cut.length > 0) problems.push(`${path}: cut off: ${cut.join(" | ")}`);
          problems.push(...(await axe(page, "shape")));
        }
      },
    );
  } finally {
    await mode("normal");
  }
}
