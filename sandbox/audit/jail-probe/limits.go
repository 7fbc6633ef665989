package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func limitChecks() []probe {
	var all []probe
	for _, l := range []struct {
		name string
		res  int
		why  string
	}{
		{"NOFILE", unix.RLIMIT_NOFILE, "open files of the whole machine run out"}, {"NPROC", unix.RLIMIT_NPROC, "a fork bomb"}, {"MEMLOCK", unix.RLIMIT_MEMLOCK, "memory that cannot be swapped"},
		{"CORE", unix.RLIMIT_CORE, "core files hold secrets and fill the disk"}, {"MSGQUEUE", unix.RLIMIT_MSGQUEUE, "memory of the kernel"}, {"SIGPENDING", unix.RLIMIT_SIGPENDING, "memory of the kernel"},
		{"NICE", unix.RLIMIT_NICE, "starves others"}, {"RTPRIO", unix.RLIMIT_RTPRIO, "starves others"}, {"AS", unix.RLIMIT_AS, "all of the memory"}, {"FSIZE", unix.RLIMIT_FSIZE, "all of the disk"}, {"CPU", unix.RLIMIT_CPU, "all of the processor"},
	} {
		all = append(all, probe{check.Check{ID: "rlimit-" + l.name, What: "use without end what RLIMIT_" + l.name + " counts", Why: l.why, Source: "getrlimit(2)", Grant: []string{"rlimit:RLIMIT_" + l.name}}, func(*check.Bait) verdict {
			var r unix.Rlimit
			if err := unix.Getrlimit(l.res, &r); err != nil {
				return byError(err)
			}
			if r.Max == unix.RLIM_INFINITY {
				return open("unlimited")
			}
			return held("at most %s", limitWord(r.Max))
		}})
		all = append(all, probe{check.Check{ID: "raise-" + l.name, What: "raise its own RLIMIT_" + l.name, Why: l.why, Source: "setrlimit(2)", Grant: []string{"cap:SYS_RESOURCE"}}, func(*check.Bait) verdict {
			var r unix.Rlimit
			if err := unix.Getrlimit(l.res, &r); err != nil {
				return byError(err)
			}
			if r.Max == unix.RLIM_INFINITY {
				return cannot("it is unlimited")
			}
			more := &unix.Rlimit{Cur: r.Cur, Max: r.Max + 1}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_PRLIMIT64, args: [6]uintptr{0, uintptr(l.res), address(more)}}))
		}})
	}
	group := func(id, what, why, grant string, files ...string) probe {
		return probe{check.Check{ID: id, What: what, Why: why, Source: "cgroups(7)", Grant: []string{grant}}, func(b *check.Bait) verdict {
			for _, dir := range groupFolders() {
				for _, f := range files {
					for _, at := range []string{dir + "/" + f, dir + groupOf(dir) + "/" + f} {
						if text, err := os.ReadFile(at); err == nil {
							if v := strings.TrimSpace(string(text)); v != "max" && !strings.HasPrefix(v, "max ") && v != "9223372036854771712" && v != "-1" {
								return held("%s: %s", f, v)
							}
						}
					}
				}
			}
			return open("no limit in sight")
		}}
	}
	all = append(all,
		group("memory", "use all of the machine's memory", "others are killed for want of it", "limit:memory", "memory.max", "memory.limit_in_bytes"),
		group("pids", "start processes without end", "a fork bomb stops the machine", "limit:pids", "pids.max"),
		group("cpu", "use all of the machine's processors", "others starve", "limit:cpu", "cpu.max", "cpu.cfs_quota_us"),
		probe{check.Check{ID: "realtime", What: "run before all others", Why: "starves them", Source: "sched(7)", Grant: []string{"cap:SYS_NICE"}}, func(*check.Bait) verdict {
			param := new(int32)
			*param = 1
			const fifo = 1
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_SCHED_SETSCHEDULER, args: [6]uintptr{0, fifo, address(param)}}))
		}},
		probe{check.Check{ID: "nice", What: "raise its own priority", Why: "starves others", Source: "setpriority(2)", Grant: []string{"cap:SYS_NICE"}}, func(*check.Bait) verdict {
			minus := -20
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_SETPRIORITY, args: [6]uintptr{unix.PRIO_PROCESS, 0, uintptr(minus)}}))
		}},
		probe{check.Check{ID: "oom-adj", What: "be spared by the kernel's out-of-memory killer", Why: "another program is killed in its place", Source: "proc_pid_oom_score_adj(5)", Grant: []string{"cap:SYS_RESOURCE"}}, func(*check.Bait) verdict {
			f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
			if err != nil {
				return byError(err)
			}
			defer f.Close()
			was := make([]byte, 16)
			n, _ := f.Read(was)
			if _, err := f.WriteAt([]byte("-1000\n"), 0); err != nil {
				return byError(err)
			}
			_, _ = f.WriteAt(was[:max(n, 0)], 0)
			return open("set to -1000 and back")
		}},
	)
	return all
}

func limitWord(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(n)
}
