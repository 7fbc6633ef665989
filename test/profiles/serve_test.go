package profiles

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jail/test/need"
)

// TestServers starts services in their profiles and asks them something from the machine they run on.
func TestServers(t *testing.T) {
	world(t)
	postgres := func(program string) string {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
		if len(found) == 0 {
			return need.Program(t, program)
		}
		return found[len(found)-1]
	}
	for _, c := range []struct {
		row
		argv []string
		ask  func(u *user) (string, error)
		want string
	}{
		{
			row:  row{profile: "http-server", program: "python3", general: true, files: map[string]string{"index.html": page, ".env": "a planted key\n"}},
			argv: []string{"python3", "-m", "http.server"}, ask: get("http://127.0.0.1:8000/"), want: "rendered",
		},
		{
			row: row{profile: "nginx", program: "nginx", files: map[string]string{"index.html": page,
				"nginx.conf": "daemon off; pid nginx.pid; error_log error.log;\nevents {}\nhttp { access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n server { listen 8080; root .; } }\n"}},
			argv: []string{"/usr/sbin/nginx", "-p", ".", "-c", "nginx.conf"}, ask: get("http://127.0.0.1:8080/"), want: "rendered",
		},
		{
			row:  row{profile: "redis", program: "redis-server", needs: []string{"redis-cli"}},
			argv: []string{"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"},
			ask: func(u *user) (string, error) {
				out, err := u.command("redis-cli", "-h", "127.0.0.1", "set", "key", "value").CombinedOutput()
				return string(out), err
			}, want: "OK",
		},
		{
			row: row{profile: "postgres", needs: []string{"psql"}, prepare: func(_ *testing.T, u *user) {
				u.must(u.jail("--", postgres("initdb"), "-D", "data", "-A", "trust", "-U", "somebody"))
				u.write("work/project/data/pg_hba.conf", "host all all all trust\n")
			}},
			argv: []string{postgres("postgres"), "-D", "data", "-k", "/tmp", "-h", "0.0.0.0"},
			ask: func(u *user) (string, error) {
				out, err := u.command("psql", "-h", "127.0.0.1", "-U", "somebody", "-Atc", "select 6 * 7", "postgres").CombinedOutput()
				return string(out), err
			}, want: "42",
		},
	} {
		t.Run(c.profile, func(t *testing.T) {
			r := c.row
			r.do = func(t *testing.T, u *user) {
				args := []string{}
				if r.general {
					args = append(args, "-p", r.profile)
				}
				cmd, said := u.start(u.jail(append(append(args, "--"), c.argv...)...))
				answer, err := "", io.EOF
				for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
					if answer, err = c.ask(u); err == nil {
						break
					}
				}
				if err != nil || !strings.Contains(answer, c.want) {
					t.Errorf("it answered %q, %v\n%s", answer, err, said())
				}
				stop(cmd)
				if got, err := c.ask(u); err == nil {
					t.Errorf("after its end it answers %q", got)
				}
			}
			r.run(t)
		})
	}
}

func get(url string) func(*user) (string, error) {
	return func(*user) (string, error) {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(url)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return string(text), err
	}
}

// start starts a program that goes on running. It gives what the program has said so far, and is stopped at the end
// of the test.
func (u *user) start(cmd *exec.Cmd) (*exec.Cmd, func() string) {
	u.t.Helper()
	log, err := os.Create(filepath.Join(u.home, "said"))
	if err != nil {
		u.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	log.Close()
	u.t.Cleanup(func() { stop(cmd) })
	return cmd, func() string { return contentOf(log.Name()) }
}

func stop(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	late.Stop()
}

// TestSSH logs in to a machine of the world with a key that only the agent has.
func TestSSH(t *testing.T) {
	r := row{profile: "ssh", program: "ssh", needs: []string{"sshd", "ssh-agent", "ssh-add", "ssh-keygen"}, net: public}
	r.do = func(t *testing.T, u *user) {
		u.must(u.command("sh", "-c", `rm ~/.ssh/id_ed25519 && ssh-keygen -q -t ed25519 -N '' -f ~/key && ssh-keygen -q -t ed25519 -N '' -f ~/hostkey &&
			cp ~/key.pub ~/authorized && (printf 'good.test '; cat ~/hostkey.pub) > ~/.ssh/known_hosts`))
		sshd := need.Program(t, "sshd")
		serve := u.command(sshd, "-D", "-e", "-p", "2222", "-f", "/dev/null", "-h", u.home+"/hostkey", "-o", "UsePAM=no", "-o", "StrictModes=no",
			"-o", "PidFile=none", "-o", "AuthorizedKeysFile="+u.home+"/authorized")
		if err := inInternet(serve.Start); err != nil {
			t.Fatal(err)
		}
		defer stop(serve)
		u.env = append(u.env, "SSH_AUTH_SOCK="+u.home+"/agent")
		agent := u.command("ssh-agent", "-D", "-a", u.home+"/agent")
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		defer stop(agent)
		if !eventually(func() bool { return u.command("ssh-add", "-q", u.home+"/key").Run() == nil }) {
			t.Fatal("the agent takes no key")
		}
		login := []string{"-p", "2222", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + u.home + "/.ssh/known_hosts", "-o", "HostKeyAlias=good.test", whoami(t) + "@good.test", "echo", "over there"}
		var said []byte
		if !eventually(func() bool {
			out, err := u.command(append([]string{"ssh"}, login...)...).CombinedOutput()
			said = out
			return err == nil
		}) {
			t.Fatalf("without a sandbox the login fails: %s", said)
		}
		if out := u.must(u.jail(append([]string{"--", "ssh"}, login...)...)); !strings.Contains(out, "over there") {
			t.Errorf("the login: %s", out)
		}
		u.write(".ssh/id_ed25519", "a planted key\n")
	}
	world(t)
	r.run(t)
}

func whoami(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// eventually tries until it works or the patience is at its end.
func eventually(f func() bool) bool {
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}

// TestDebugger: gdb steps a program inside and finds nothing outside, and not jail's own process in there.
func TestDebugger(t *testing.T) {
	r := row{profile: "gdb", program: "gdb", needs: []string{"gcc"}, files: map[string]string{"loop.c": "int answer = 41;\nint main(void) { answer++; return 0; }\n"}}
	r.prepare = func(_ *testing.T, u *user) { u.must(u.command("gcc", "-g", "-o", "loop", "loop.c")) }
	r.args = []string{"-q", "-batch", "-ex", "break main", "-ex", "run", "-ex", "next", "-ex", "print answer", "./loop"}
	r.want = "$1 = 42"
	r.check = func(t *testing.T, u *user, said string) {
		if strings.Contains(said, "warning: Error disabling address space randomization") {
			t.Errorf("addresses are random:\n%s", said)
		}
		// A process of the user's, which a debugger outside may look at.
		victim := u.command("sleep", "100")
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		defer stop(victim)
		for what, pid := range map[string]string{"a process outside": fmt.Sprint(victim.Process.Pid), "jail's own process": "1"} {
			out, err := u.jail("--", "gdb", "-q", "-batch", "-p", pid, "-ex", "print 6*7").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if bytes.Contains(out, []byte("attached")) || !bytes.Contains(out, []byte("ptrace: ")) && !bytes.Contains(out, []byte("No such process")) && !bytes.Contains(out, []byte("not being run")) {
				t.Errorf("gdb on %s: %s", what, out)
			}
		}
	}
	r.run(t)
}
