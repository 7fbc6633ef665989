package guest

import (
	"encoding/json"
	"strings"
	"testing"

	"jail/sandbox/audit"
	"jail/test/need"
)

// What the default profile promises is tried on every kernel that there is a guest of: all of it holds, and what cannot
// be tried or is let through has its reason in the report. Where jail starts no sandbox there is nothing to audit, and
// it says what the kernel lacks.
func TestAuditOfTheDefaultProfile(t *testing.T) {
	need.Guest(t)
	need.OrdinaryUser(t)
	r := run(t, need.Jail(t), "audit", "--json")
	if tooOld(t) {
		refused(t, r, "mount_setattr", "Linux 5.12")
		return
	}
	var report audit.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	reasons := map[string][]string{}
	for _, check := range report.Results {
		switch check.Outcome {
		case audit.Failed:
			t.Errorf("%s: a program can %s: %s (outside: %s)", check.ID, check.What, check.Detail, check.Control)
		case audit.Granted, audit.Untried:
			if check.Reason == "" {
				t.Errorf("%s is %s, and nothing says why", check.ID, check.Outcome)
			}
			why := string(check.Outcome) + ", " + check.Reason
			reasons[why] = append(reasons[why], check.ID)
		}
	}
	for why, ids := range reasons {
		t.Logf("%d %s: %s", len(ids), why, strings.Join(ids, ", "))
	}
	if r.code != 0 || report.Checks < 150 || report.Counts[audit.Held] < 150 {
		t.Errorf("exit code %d after %d checks, of which %d held: the probe did not get far", r.code, report.Checks, report.Counts[audit.Held])
	}
	t.Logf("%d of %d: %v", report.Score, report.OutOf, report.Counts)
}
