package integration

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"jail/sandbox/audit"
	"jail/test/need"
)

// auditOf runs jail audit and reads its report.
func auditOf(t *testing.T, u *user, words ...string) (*audit.Report, int) {
	t.Helper()
	out, errs, code := u.run(append([]string{"audit", "--json"}, words...)...)
	var r audit.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
	}
	return &r, code
}

func outcomes(r *audit.Report, which audit.Outcome) map[string]string {
	m := map[string]string{}
	for _, res := range r.Results {
		if res.Outcome == which {
			m[res.ID] = res.Reason
		}
	}
	return m
}

func TestTheDefaultProfileHoldsInTheAudit(t *testing.T) {
	u := newUser(t)
	r, code := auditOf(t, u)
	for _, res := range r.Results {
		if res.Outcome == audit.Failed {
			t.Errorf("%s: a program can %s: %s (outside: %s)", res.ID, res.What, res.Detail, res.Control)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	if r.Checks < 150 || r.Counts[audit.Held] < 120 {
		t.Errorf("%d checks, %d held: the probe did not get far", r.Checks, r.Counts[audit.Held])
	}
}

// weakened gives away one thing of every group that a profile can.
const weakened = `extends: [default]
namespaces: [user, mount, pid, uts, cgroup]
network: {mode: host}
filesystem:
  - {path: "~/.ssh", mode: ro}
environment: {keep: [GITHUB_TOKEN]}
enforcement: {landlock: off, seccomp: off}
`

// What is weakened goes through inside, among much that does not.
var weakenedIDs = []string{
	"files/read-.ssh/id_ed25519", "namespaces/ipc", "namespaces/net", "namespaces/new-user", "privileges/seccomp", "privileges/landlock",
	"system calls/bpf", "system calls/io_uring_setup", "system calls/mount", "sockets/netlink-diag", "network/loopback4", "network/abstract", "ipc/shm", "environment/GITHUB_TOKEN",
}

func TestTheAuditNamesWhatAProfileGrants(t *testing.T) {
	u := newUser(t)
	u.profile("weakened", weakened)
	r, code := auditOf(t, u, u.home+"/.config/jail/profiles/weakened.yaml")
	if failed := outcomes(r, audit.Failed); len(failed) > 0 || code != 0 {
		t.Errorf("exit code %d, failed: %v", code, failed)
	}
	granted := outcomes(r, audit.Granted)
	for _, id := range weakenedIDs {
		if granted[id] == "" {
			t.Errorf("%s is not said to be granted", id)
		}
	}
}

// The control run of the audit itself: a sandbox that does less than its profile says is found out.
func TestTheAuditFindsAWeakerSandbox(t *testing.T) {
	u := newUser(t)
	u.profile("weakened", weakened)
	var spec specs.Spec
	if err := json.Unmarshal([]byte(u.must("compile", "-p", "default", "--", "true")), &spec); err != nil {
		t.Fatal(err)
	}
	planted, err := audit.Plant(audit.Place, audit.Place, u.home+"/.config", u.home+"/.cache")
	if err != nil {
		t.Fatal(err)
	}
	defer planted.Close()
	outside, err := planted.Look(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := planted.Look(context.Background(), func(words []string) []string {
		return slices.Concat([]string{need.Jail(t), "run", "-p", "weakened", "--no-project", "--ro", planted.ProbeDir, "--"}, words)
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := outcomes(audit.Judge(outside, inside, audit.Promises(&spec, &planted.Bait, 7, false)), audit.Failed)
	for _, id := range weakenedIDs {
		if _, found := failed[id]; !found {
			t.Errorf("%s is open and was not found", id)
		}
	}
}

func TestTheAuditLeavesNothing(t *testing.T) {
	u := newUser(t)
	before := baits(t)
	auditOf(t, u)
	if after := baits(t); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// baits lists what an audit might leave.
func baits(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ls -d /tmp/jail-audit-* /var/tmp/jail-audit-* /dev/shm/jail-audit-* 2>/dev/null; ipcs -a | grep -c 0x6a61; pgrep -u $(id -u) -f '^/var/tmp/jail-audit.* keep'; true").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Another tool has promised nothing, so there is nothing to fail.
func TestTheAuditOfAnotherTool(t *testing.T) {
	need.Program(t, "bwrap")
	u := newUser(t)
	r, code := auditOf(t, u, "--with", "bwrap --unshare-all --ro-bind / / --dev /dev --proc /proc {}")
	held, open := outcomes(r, audit.Held), outcomes(r, audit.Failed)
	if code != 0 || len(held) == 0 || len(open) == 0 {
		t.Errorf("exit code %d, %d held, %d open", code, len(held), len(open))
	}
	if _, ok := held["network/loopback4"]; !ok {
		t.Error("a network namespace does not hold the loopback")
	}
	if _, ok := open["files/read-.ssh/id_ed25519"]; !ok {
		t.Error("the home that is bound is not open")
	}
}
