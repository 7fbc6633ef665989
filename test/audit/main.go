// Command audit runs jail's audit in jail and in other tools, and prints the table of docs/security.md.
//
//	bin/as-user -stage /var/tmp/jail-test/test -- go run ./test/audit
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"jail/sandbox/audit"
	"jail/sandbox/audit/check"
)

// A tool is a sandbox to audit: jail's with a profile, or another one's with its usual options.
type tool struct {
	name    string
	words   []string // of jail audit
	version []string
}

const bwrap = "bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 " +
	"--proc /proc --dev /dev --tmpfs /tmp --ro-bind {dir} {dir} {}"

var tools = []tool{
	{"jail", []string{"default"}, []string{"bin/jail", "version"}},
	{"bubblewrap", []string{"--with", bwrap}, []string{"bwrap", "--version"}},
	{"firejail", []string{"--with", "firejail --quiet --private --net=none {}"}, []string{"firejail", "--version"}},
	{"nsjail", []string{"--with", "nsjail -q -Mo --user 99999 --group 99999 -R {dir} -T /tmp -- {}"}, []string{"nsjail", "--help"}},
	{"runc", []string{"--with", "{tree}/test/audit/oci runc {dir} {}"}, []string{"runc", "--version"}},
	{"crun", []string{"--with", "{tree}/test/audit/oci crun {dir} {}"}, []string{"crun", "--version"}},
}

func main() {
	var names []string
	reports := map[string]*audit.Report{}
	for _, t := range tools {
		if _, err := exec.LookPath(t.version[0]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: not installed\n", t.name)
			continue
		}
		r, err := run(t)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: does not run here: %v\n", t.name, err)
			continue
		}
		names, reports[t.name] = append(names, t.name), r
		version, _ := exec.Command(t.version[0], t.version[1:]...).Output()
		first, _, _ := strings.Cut(string(version), "\n")
		fmt.Printf("- %s: `%s` (%s)\n", t.name, strings.Join(t.words, " "), first)
	}
	// Only what goes through outside, or inside of one of them, tells anything.
	telling := map[string]bool{}
	for _, name := range names {
		for _, res := range reports[name].Results {
			if res.Outside == check.Open || res.Inside == check.Open {
				telling[res.ID] = true
			}
		}
	}
	fmt.Printf("\n| group | checks | %s |\n|%s\n", strings.Join(names, " | "), strings.Repeat(" --- |", len(names)+2))
	total := map[string]int{}
	all := 0
	for _, group := range check.Groups {
		row, count := "", 0
		for _, name := range names {
			held := 0
			count = 0
			for _, res := range reports[name].Results {
				if res.Group == group && telling[res.ID] {
					count++
					if res.Inside != check.Open {
						held++
					}
				}
			}
			total[name] += held
			row += fmt.Sprintf(" %d |", held)
		}
		if count > 0 {
			all += count
			fmt.Printf("| %s | %d |%s\n", group, count, row)
		}
	}
	fmt.Printf("| **all** | **%d** |", all)
	for _, name := range names {
		fmt.Printf(" **%d** |", total[name])
	}
	fmt.Println()
	stricter(names[1:], reports)
}

// stricter lists what jail leaves open and another tool does not.
func stricter(names []string, reports map[string]*audit.Report) {
	fmt.Println("\nOpen in jail's default profile, and not in:")
	for _, res := range reports["jail"].Results {
		if res.Inside != check.Open {
			continue
		}
		var by []string
		for _, name := range names {
			i := slices.IndexFunc(reports[name].Results, func(r audit.Result) bool { return r.ID == res.ID })
			if i >= 0 && reports[name].Results[i].Inside == check.Held {
				by = append(by, name)
			}
		}
		fmt.Printf("- %s (%s): %s\n", res.What, res.ID, strings.Join(by, ", "))
	}
	for _, name := range names {
		var open []string
		for _, res := range reports[name].Results {
			if res.Inside == check.Open {
				open = append(open, res.ID)
			}
		}
		fmt.Printf("\nOpen in %s: %s\n", name, strings.Join(open, ", "))
	}
}

func run(t tool) (*audit.Report, error) {
	tree, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	words := []string{"audit", "--json"}
	for _, w := range t.words {
		words = append(words, strings.ReplaceAll(w, "{tree}", tree))
	}
	cmd := exec.Command("bin/jail", words...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	runErr := cmd.Run()
	var r audit.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("%w: %s", runErr, errs.Bytes())
	}
	return &r, nil
}
