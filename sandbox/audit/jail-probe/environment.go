package main

import (
	"os"
	"slices"
	"strings"

	"jail/sandbox/audit/check"
)

func environmentChecks() []probe {
	variable := func(name, why string) probe {
		return probe{check.Check{ID: name, What: "read the caller's " + name, Why: why, Source: "environ(7)", Grant: []string{"env:" + name}}, func(b *check.Bait) verdict {
			v, ok := os.LookupEnv(name)
			switch {
			case !ok:
				return held("not set")
			case !strings.Contains(v, b.Secret):
				return held("a value of the sandbox's own")
			}
			return open("set")
		}}
	}
	all := []probe{
		variable("JAIL_AUDIT_SECRET", "tokens are handed over in variables that no tool knows"),
		variable("AWS_SECRET_ACCESS_KEY", "an account at a cloud, and its bill"),
		variable("GITHUB_TOKEN", "the right to push in the user's name"),
		variable("SSH_AUTH_SOCK", "the agent signs with the user's keys"),
		variable("DBUS_SESSION_BUS_ADDRESS", "the session's bus starts programs outside"),
		variable("XAUTHORITY", "the key to the X server"),
		variable("LD_PRELOAD", "code that runs in every program"),
		variable("LD_LIBRARY_PATH", "code that runs in every program"),
		variable("BASH_ENV", "a script that runs in every shell"),
		variable("PYTHONPATH", "code that runs in every Python program"),
	}
	// Any of them, by its name, is another check's and perhaps the profile's; here it is how they may leak.
	var granted, names []string
	for _, p := range all {
		granted, names = append(granted, p.Grant...), append(names, p.ID)
	}
	return append(all,
		probe{check.Check{ID: "any", What: "find the secret in another variable", Why: "tokens are handed over in variables", Source: "environ(7)"}, func(b *check.Bait) verdict {
			for _, kv := range os.Environ() {
				name, v, _ := strings.Cut(kv, "=")
				if strings.Contains(v, b.Secret) && !slices.Contains(names, name) {
					return open("%s", name)
				}
			}
			return held("in none")
		}},
		probe{check.Check{ID: "proc-environ", What: "find the secret in the environment it was started with", Why: "a program may have taken it out of sight only", Source: "proc_pid_environ(5)", Grant: granted}, func(b *check.Bait) verdict {
			return readsSecret(b, "/proc/self/environ")
		}},
		probe{check.Check{ID: "others", What: "find the secret in the environments of the processes it sees", Why: "who started it has it", Source: "proc_pid_environ(5)", Grant: append(granted, "ns:pid")}, func(b *check.Bait) verdict {
			entries, err := os.ReadDir("/proc")
			if err != nil {
				return byError(err)
			}
			for _, e := range entries {
				if strings.Trim(e.Name(), "0123456789") != "" {
					continue
				}
				if v := readsSecret(b, "/proc/"+e.Name()+"/environ"); v.answer == check.Open {
					return open("process %s", e.Name())
				}
			}
			return held("in none")
		}},
	)
}
