//go:build amd64

package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// callName gives the name of a system call of x86-64, from the list in golang.org/x/sys/unix.
func callName(nr uint64) string {
	if name := callNames()[nr]; name != "" {
		return name
	}
	return "system call " + strconv.FormatUint(nr, 10)
}

var callNames = sync.OnceValue(func() map[uint64]string {
	names := map[uint64]string{}
	dir, _ := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	text, _ := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix/zsysnum_linux_amd64.go"))
	for _, m := range regexp.MustCompile(`SYS_(\w+)\s+=\s+(\d+)`).FindAllStringSubmatch(string(text), -1) {
		nr, _ := strconv.ParseUint(m[2], 10, 64)
		names[nr] = strings.ToLower(m[1])
	}
	return names
})
