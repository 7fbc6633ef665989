package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

func processChecks() []probe {
	onKeeper := func(id, what, why, source string, attempt func(b *check.Bait) verdict) probe {
		return probe{check.Check{ID: id, What: what + " a process outside", Why: why, Source: source, Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			if b.PID <= 2 {
				return cannot("the process outside has a number that is taken inside")
			}
			return attempt(b)
		}}
	}
	pid := func(b *check.Bait) uintptr { return uintptr(b.PID) }
	return []probe{
		onKeeper("signal", "signal", "it can be stopped, or made to do what signals make it do", "kill(2)", func(b *check.Bait) verdict { return byError(unix.Kill(b.PID, 0)) }),
		onKeeper("tgkill", "signal a thread of", "it can be stopped, or made to do what signals make it do", "tgkill(2)", func(b *check.Bait) verdict { return byError(unix.Tgkill(b.PID, b.PID, 0)) }),
		onKeeper("sigqueue", "queue a signal for", "it can be stopped, or made to do what signals make it do", "rt_sigqueueinfo(2)", func(b *check.Bait) verdict {
			info := &[16]uint64{}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_RT_SIGQUEUEINFO, args: [6]uintptr{pid(b), 0, address(info)}}))
		}),
		onKeeper("pidfd-signal", "hold", "a descriptor of it can be signalled and waited for", "pidfd_open(2)", func(b *check.Bait) verdict {
			fd, err := unix.PidfdOpen(b.PID, 0)
			if err == nil {
				_ = unix.Close(fd)
			}
			return byError(err)
		}),
		onKeeper("pidfd-getfd", "take an open file from", "files that have no path inside", "pidfd_getfd(2)", func(b *check.Bait) verdict {
			fd, err := unix.PidfdOpen(b.PID, 0)
			if err != nil {
				return byError(err)
			}
			defer unix.Close(fd)
			got, err := unix.PidfdGetfd(fd, b.FD, 0)
			if err == nil {
				_ = unix.Close(got)
			}
			return byError(err)
		}),
		onKeeper("ptrace-attach", "trace", "it does whatever the tracer wants", "ptrace(2)", func(b *check.Bait) verdict {
			const seize = 0x4206 // does not stop it, and ends with the tracer
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_PTRACE, args: [6]uintptr{seize, pid(b)}}))
		}),
		onKeeper("vm-read", "read the memory of", "its secrets", "process_vm_readv(2)", func(b *check.Bait) verdict {
			buf := make([]byte, b.Length)
			n, err := unix.ProcessVMReadv(b.PID, []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}, []unix.RemoteIovec{{Base: uintptr(b.Address), Len: b.Length}}, 0)
			if err == nil && (n != b.Length || string(buf) != b.Secret) {
				return held("another process")
			}
			return byError(err)
		}),
		onKeeper("vm-write", "write the memory of", "it does whatever the writer wants", "process_vm_writev(2)", func(b *check.Bait) verdict {
			buf := []byte(b.Secret) // what is there already
			if len(buf) == 0 {
				return cannot("no secret")
			}
			iov := &unix.Iovec{Base: &buf[0], Len: uint64(len(buf))}
			remote := &unix.RemoteIovec{Base: uintptr(b.Address), Len: b.Length}
			return byOutcomeOf(try(abiNative, noPrelude, call{nr: unix.SYS_PROCESS_VM_WRITEV, args: [6]uintptr{pid(b), address(iov), 1, address(remote), 1, 0}}))
		}),
		onKeeper("kcmp", "compare oneself with", "tells of addresses in the kernel", "kcmp(2)", func(b *check.Bait) verdict {
			o := try(abiNative, noPrelude, call{nr: unix.SYS_KCMP, args: [6]uintptr{uintptr(os.Getpid()), pid(b), 1}})
			if o.failed == nil && o.signal == 0 && o.errno <= 3 && o.errno != unix.EPERM && o.errno != unix.ESRCH {
				return open("compared")
			}
			return byOutcomeOf(o)
		}),
		onKeeper("priority", "change the priority of", "it can be starved", "setpriority(2)", func(b *check.Bait) verdict {
			prio, err := unix.Getpriority(unix.PRIO_PROCESS, b.PID)
			if err != nil {
				return byError(err)
			}
			return byError(unix.Setpriority(unix.PRIO_PROCESS, b.PID, 20-prio)) // to what it is
		}),
		onKeeper("affinity", "choose the processors of", "it can be starved", "sched_setaffinity(2)", func(b *check.Bait) verdict {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(b.PID, &set); err != nil {
				return byError(err)
			}
			return byError(unix.SchedSetaffinity(b.PID, &set)) // to what they are
		}),
		onKeeper("prlimit", "change the limits of", "it can be made to fail", "prlimit(2)", func(b *check.Bait) verdict {
			var old unix.Rlimit
			if err := unix.Prlimit(b.PID, unix.RLIMIT_CORE, nil, &old); err != nil {
				return byError(err)
			}
			return byError(unix.Prlimit(b.PID, unix.RLIMIT_CORE, &old, nil)) // to what they are
		}),
		onKeeper("scheduler", "see how the kernel schedules", "tells what it does", "sched_getattr(2)", func(b *check.Bait) verdict {
			_, err := unix.SchedGetAttr(b.PID, 0)
			return byError(err)
		}),
		onKeeper("ioprio", "change the disk priority of", "it can be starved", "ioprio_set(2)", func(b *check.Bait) verdict {
			const process = 1
			prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, process, pid(b), 0)
			if errno == 0 {
				_, _, errno = unix.Syscall(unix.SYS_IOPRIO_SET, process, pid(b), prio)
			}
			if errno != 0 {
				return byError(errno)
			}
			return open("success")
		}),
		onKeeper("oom", "choose for the kernel's out-of-memory killer", "it is killed in the place of another", "proc_pid_oom_score_adj(5)", func(b *check.Bait) verdict {
			f, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(b.PID), "oom_score_adj"), os.O_WRONLY, 0)
			if err == nil {
				f.Close()
			}
			return byError(err)
		}),
		{check.Check{ID: "all", What: "signal every process of the user's", Why: "kill(-1) ends the session", Source: "kill(2)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			// Whether signal 0 would reach the keeper is asked for it alone; here, whether any other process is in sight.
			entries, err := os.ReadDir("/proc")
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			seen := 0
			for _, e := range entries {
				if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 {
					seen++
				}
			}
			if seen >= b.Processes/2 && b.Processes > 12 || b.Outside {
				return open("%d processes in sight", seen)
			}
			return held("%d processes in sight", seen)
		}},
		{check.Check{ID: "parent", What: "see who started it", Why: "the parent can be signalled", Source: "getppid(2)", Grant: []string{"ns:pid"}}, func(b *check.Bait) verdict {
			// The worker's parent is the probe; the probe's is jail's pid 1, or a process outside.
			text, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/stat")
			if err != nil {
				return cannot("%s", errorWord(err))
			}
			if parent := field(text, 4); parent == "0" || parent == "1" || parent == "2" {
				return held("process %s inside", parent)
			} else if own, _ := os.Readlink("/proc/self/ns/pid"); own != b.Namespaces["pid"] {
				return held("process %s inside", parent)
			} else {
				return open("process %s", parent)
			}
		}},
		{check.Check{ID: "core", What: "have its memory written to a core file on the machine", Why: "core_pattern runs outside with what the program wants it to read", Source: "core(5); CVE-2025-4598", Grant: []string{"rlimit:RLIMIT_CORE"}}, func(*check.Bait) verdict {
			var r unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_CORE, &r); err != nil {
				return byError(err)
			}
			dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
			switch {
			case err == nil && dumpable == 0:
				return held("not dumpable")
			case r.Max == 0 && !coreIsPiped():
				return held("RLIMIT_CORE is 0")
			case r.Max == 0:
				return open("RLIMIT_CORE is 0, which does not keep it from the program that core_pattern names")
			case r.Max == 1: // at 1 nobody gets it, at 0 a program outside does
				if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Max: 1}); err != nil {
					return held("RLIMIT_CORE is 1 and stays so: %s", errorWord(err))
				}
				_ = unix.Setrlimit(unix.RLIMIT_CORE, &r)
				return open("RLIMIT_CORE is 1 and may be lowered to 0")
			}
			return open("dumpable, RLIMIT_CORE may be raised to %s", limitWord(r.Max))
		}},
	}
}

// byOutcomeOf is for a call with valid arguments: only success is an open door.
func byOutcomeOf(o outcome) verdict {
	switch {
	case o.failed != nil:
		return cannot("%v", o)
	case o.errno != 0 || o.signal != 0:
		return held("%v", o)
	}
	return open("success")
}

// field is one of the numbered fields of /proc/PID/stat, from the third on: proc_pid_stat(5).
func field(stat []byte, n int) string {
	fields := 2
	word := ""
	for i := len(stat) - 1; i >= 0; i-- {
		if stat[i] == ')' { // the name before it may hold anything
			for _, b := range stat[i+1:] {
				if b == ' ' || b == '\n' {
					if word != "" && fields == n {
						return word
					}
					word = ""
					continue
				}
				if word == "" {
					fields++
				}
				word += string(b)
			}
			return word
		}
	}
	return ""
}

// coreIsPiped tells whether core files go to a program outside, whatever RLIMIT_CORE says: core(5).
func coreIsPiped() bool {
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	return err != nil || strings.HasPrefix(string(pattern), "|")
}
