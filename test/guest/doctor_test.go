package guest

import (
	"os/exec"
	"strings"
	"testing"

	"jail/test/need"
)

// TestRootDoctorsRemediesWork switches obstacles on one by one, and types what the doctor says as it says it.
func TestRootDoctorsRemediesWork(t *testing.T) {
	need.Guest(t)
	need.Root(t)
	need.UserNamespaces(t)
	for _, name := range []string{"user.max_user_namespaces", "kernel.unprivileged_userns_clone"} {
		t.Run(name, func(t *testing.T) {
			command := asUser("tester", need.Jail(t), "doctor")
			started(t, run(t, asUser("tester", jailed(t)...)...))
			setSysctl(t, name, "0")
			out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
			if err == nil {
				t.Fatalf("the doctor finds nothing missing:\n%s", out)
			}
			remedy := ""
			lines := strings.Split(string(out), "\n")
			for i, line := range lines {
				if strings.HasPrefix(line, "  missing") && strings.Contains(line, name) && i+1 < len(lines) {
					remedy, _ = strings.CutPrefix(strings.TrimSpace(lines[i+1]), "$ sudo ")
				}
			}
			if remedy == "" {
				t.Fatalf("the doctor names no remedy:\n%s", out)
			}
			// The test is root already, and the guest has no sudo.
			if out, err := exec.Command("sh", "-c", remedy).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", remedy, err, out)
			}
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Errorf("after %s:\n%s", remedy, out)
			}
			started(t, run(t, asUser("tester", jailed(t)...)...))
		})
	}
}
