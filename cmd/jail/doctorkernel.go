package main

import (
	"cmp"
	_ "embed" // the AppArmor profile
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"jail/sandbox"
)

// bootWith is the command that puts a word onto the kernel's command line, "" where it is not known how that is done here.
func bootWith(word string) string {
	if _, err := exec.LookPath("grubby"); err == nil {
		return "sudo grubby --update-kernel=ALL --args='" + word + "' && sudo reboot"
	}
	if _, err := os.Stat("/etc/default/grub.d"); err == nil {
		return `echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ` + word + `"' | sudo tee -a /etc/default/grub.d/jail.cfg && sudo update-grub && sudo reboot`
	}
	return ""
}

// landlockFeature is the second barrier on files.
func landlockFeature() feature {
	abi, err := sandbox.ProbeLandlock()
	switch {
	case err == nil && abi >= sandbox.LeastAlone:
		return found("Landlock", "version %d of its interface; where no namespaces can be had, it holds programs alone whose profile prefers them", abi)
	case err == nil:
		return found("Landlock", "version %d of its interface; to hold a program without namespaces it takes version %d (Linux 6.12)", abi, sandbox.LeastAlone)
	case errors.Is(err, unix.EOPNOTSUPP):
		inUse := lineOf("/sys/kernel/security/lsm")
		if inUse == "" {
			inUse = "lockdown,yama,apparmor"
		}
		word := "lsm=landlock," + strings.TrimPrefix(inUse, "capability,")
		return feature{Name: "Landlock", State: optional, Text: "is in the kernel and not in use", Remedy: bootWith(word), Note: "boot with " + word + " on the kernel's command line"}
	}
	return feature{Name: "Landlock", State: optional, Text: "this kernel has none (" + err.Error() + ")", Note: "it came with Linux 5.13, as CONFIG_SECURITY_LANDLOCK"}
}

// memoryFeature is whether the two programs that jail carries, the compiler of filters and the gateway, can be run from
// memory where they cannot be kept in its cache.
func memoryFeature() feature {
	const name = "programs in memory"
	fd, err := unix.MemfdCreate("doctor", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 there was no way to switch them off
		return found(name, "the kernel takes them")
	}
	if err != nil {
		return lacking(optional, name, "switched off by the sysctl vm.memfd_noexec="+lineOf("/proc/sys/vm/memfd_noexec")+": jail's own run from its cache, which must be writable and without noexec",
			"sudo sysctl -w vm.memfd_noexec=1")
	}
	_ = unix.Close(fd)
	return found(name, "the kernel takes them")
}

// binfmtFeature is what starts programs that are not this machine's own: binfmt_misc, Documentation/admin-guide/binfmt-misc.rst.
// A handler with the flag F was opened when it was registered, and is there in every sandbox.
func binfmtFeature() feature {
	const name, dir = "foreign programs", "/proc/sys/fs/binfmt_misc"
	switch status := lineOf(dir + "/status"); status {
	case "enabled":
	case "disabled":
		return lacking(optional, name, "handlers are switched off (binfmt_misc)", "echo 1 | sudo tee "+dir+"/status")
	default:
		return lacking(optional, name, "binfmt_misc is not mounted: only this machine's own programs and scripts start", "sudo mount -t binfmt_misc binfmt_misc "+dir)
	}
	files, _ := os.ReadDir(dir)
	var everywhere, granted []string
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || !strings.HasPrefix(string(text), "enabled\n") || f.Name() == "status" {
			continue
		}
		_, flags, _ := strings.Cut(string(text), "\nflags:")
		flags, _, _ = strings.Cut(flags, "\n")
		if strings.Contains(flags, "F") {
			everywhere = append(everywhere, f.Name())
		} else {
			granted = append(granted, f.Name())
		}
	}
	var words []string
	if len(everywhere) > 0 {
		words = append(words, "in every sandbox: "+strings.Join(everywhere, ", "))
	}
	if len(granted) > 0 {
		words = append(words, "where the handler's file is granted: "+strings.Join(granted, ", "))
	}
	if words == nil {
		words = []string{"no handler is registered (binfmt_misc)"}
	}
	return found(name, "%s", strings.Join(words, "; "))
}

// appArmorText is the profile that the Debian package brings.
//
//go:embed deb/apparmor
var appArmorText string

// appArmorFile is where the profile belongs; the package puts it there too.
const appArmorFile = "/etc/apparmor.d/jail"

// printAppArmor prints the profile for this program, wherever it lies.
func (a *app) printAppArmor() error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if strings.ContainsAny(path, "\"\n\\*?[]{}^@") { // the last ones are for patterns and variables, apparmor.d(5)
		return fmt.Errorf("%s: a path that an AppArmor profile cannot name", path)
	}
	_, err = fmt.Fprint(a.out, strings.ReplaceAll(appArmorText, "@PROGRAM@", `"`+path+`"`))
	return err
}

// appArmorFeature is whether AppArmor keeps ordinary users from user namespaces, and whether jail has a profile that lets it.
// namespaces is what came of trying to make them.
func appArmorFeature(lineOf func(string) string, namespaces error) feature {
	const name, sysctl = "AppArmor", "kernel.apparmor_restrict_unprivileged_userns"
	if lineOf("/sys/module/apparmor/parameters/enabled") != "Y" {
		return found(name, "not in use")
	}
	if lineOf("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != "1" {
		return found(name, "does not restrict user namespaces")
	}
	label := cmp.Or(lineOf("/proc/self/attr/apparmor/current"), lineOf("/proc/self/attr/current"))
	if namespaces == nil && label != "unconfined" {
		return found(name, "restricts user namespaces, and lets jail make them: profile %s", label)
	}
	f := feature{Name: name, State: optional, Text: "restricts user namespaces (" + sysctl + "=1), and no profile of jail's is loaded"}
	if namespaces != nil {
		f.State = missing
	}
	self, _ := os.Executable()
	if text, _ := os.ReadFile(appArmorFile); slices.Contains(strings.Fields(strings.ReplaceAll(string(text), `"`, "")), self) {
		f.Remedy = "sudo apparmor_parser -r " + appArmorFile
		return f
	}
	f.Remedy = self + " doctor --apparmor | sudo tee " + appArmorFile + " && sudo apparmor_parser -r " + appArmorFile
	return f
}

// lineOf reads a file of one line, "" where it is not to be had.
func lineOf(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(text), "\x00\n")
}
