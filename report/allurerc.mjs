// SPDX-License-Identifier: MIT
// Allure 3's configuration for `touchstone report`, which says in $TOUCHSTONE_REPORT (a JSON file) what this report
// is made of: {title, output, history, historyLimit, runsBefore, ownHistory, targets: [name]}; history is null where none
// is kept. ownHistory: Allure wrote it, so that it has durations and transitions; what is made of nights has verdicts.
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(process.env.TOUCHSTONE_REPORT, "utf8"));

const hasLabel = (name, value) => (result) =>
  result.labels.some((label) => label.name === name && label.value === value);

// One category per verdict that is not "conformant". Without messages between a category and its checks: a message
// names measured values and is hardly ever the same twice.
const verdicts = {
  crash: "Crash: the target died under the check",
  hang: "Hang: the target stopped answering",
  deviation: "Deviation: the hypervisor shows, or does not do what it must",
  improved: "Improved: an expected deviation is gone",
  machine: "Machine: the bare machine does not hold it either",
  infrastructure: "Infrastructure: the lab failed, not the hypervisor",
  blocked: "Blocked: could not be judged, because of what failed before",
  "known-deviation": "Known deviation: expected on this target",
  unsupported: "Unsupported: the target or the subject lacks what the check requires",
};

const categories = Object.entries(verdicts).map(([verdict, name]) => ({
  id: verdict,
  name,
  matchers: { labels: { verdict: new RegExp(`^${verdict}$`) } },
  groupBy: ["environment"],
  groupByMessage: false,
  expand: verdict === "crash" || verdict === "hang" || verdict === "deviation",
}));

const everyStatus = ["failed", "broken", "skipped", "passed", "unknown"];
const levels = ["critical", "normal", "minor"]; // must, should, may

// Not among them: currentStatus, whose ring has another percentage than the one of the page's head (it counts what was
// skipped), and the heat map problemsDistribution, which paints an area with a few failures in the green of none.
const charts = [
  { type: "testResultSeverities", title: "By level: must, should, may", levels, statuses: everyStatus },
  { type: "durations", title: "Durations", groupBy: "none" },
];
if (asked.runsBefore > 0) {
  const limit = asked.historyLimit;
  charts.push({ type: "statusDynamics", title: "Run by run", limit });
  if (asked.ownHistory)
    charts.push(
      { type: "statusTransitions", title: "What changed, run by run", limit },
      { type: "durationDynamics", title: "Duration, run by run", limit },
    );
}

export default {
  name: asked.title,
  output: asked.output,
  ...(asked.history && { historyPath: asked.history, historyLimit: asked.historyLimit, appendHistory: true }),
  hideLabels: ["thread", "framework", "language", "host", "package", "parentSuite"],
  environments: Object.fromEntries(
    asked.targets.map((name) => [
      name.replace(/[^A-Za-z0-9_-]/g, "_"),
      { name, matcher: hasLabel("target", name) },
    ]),
  ),
  categories: { rules: categories },
  plugins: {
    awesome: {
      options: {
        reportName: asked.title,
        reportLanguage: "en",
        singleFile: true,
        groupBy: ["suite", "subSuite"],
        sections: ["charts", "timeline"],
        charts,
      },
    },
  },
};
