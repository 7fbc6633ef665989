package net_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// site is a server of the internet with everything that ordinary programs talk to, at web.test: pages on ports 8000 and
// 8443 (TLS), a repository among them, and an SSH server on 2222.
type site struct {
	dir string // what it serves, and the keys to it
	mu  sync.Mutex
	got []string // the pages that were asked for, with the program that asked
}

const siteAddr = "203.0.113.30"

func newSite(t *testing.T) *site {
	t.Helper()
	for _, program := range []string{"git", "curl", "ssh", "ssh-keygen", "sshd", "ping", "dig", "python3", "node"} {
		need.Program(t, program)
	}
	s := &site{dir: t.TempDir()}
	page := filepath.Join(s.dir, "www", "page.html")
	s.run(t, "mkdir", "-p", filepath.Dir(page))
	if err := os.WriteFile(page, []byte("<title>a page</title><p>the page that was asked for\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t, "sh", "-c", `set -e; git init -q repo; cd repo; echo hello >file; git add file
		git -c user.name=a -c user.email=a@web.test commit -qm one; cd ..
		git clone -q --bare repo www/repo.git; git -C www/repo.git update-server-info
		ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key; cp key.pub authorized`)
	cert := s.certificate(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.got = append(s.got, r.URL.Path+" "+r.UserAgent())
		s.mu.Unlock()
		http.FileServer(http.Dir(filepath.Join(s.dir, "www"))).ServeHTTP(w, r)
	})
	// The SSH server is an ordinary user's, who is called guest there, whoever runs the tests: root's would need a second
	// user to confine its parts to (sshd(8), FILES: /run/sshd), and there is only one in this world.
	if err := os.WriteFile(filepath.Join(s.dir, "passwd"), []byte("guest:x:1000:1000::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sshd := exec.Command("sh", "-c", `mount --bind passwd /etc/passwd && exec setpriv "$@"`, "sh")
	sshd.Args = append(append(sshd.Args, dropAll...), "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null",
		"-o", "ListenAddress="+siteAddr+":2222", "-o", "HostKey="+s.dir+"/host",
		"-o", "AuthorizedKeysFile="+s.dir+"/authorized", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none")
	sshd.Dir, sshd.Env = s.dir, []string{"PATH=/usr/sbin:/usr/bin:/bin"}
	sshd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	var said bytes.Buffer
	sshd.Stderr = &said
	err := inInternet(func() error {
		plain, err := net.Listen("tcp", siteAddr+":8000")
		if err != nil {
			return err
		}
		secret, err := tls.Listen("tcp", siteAddr+":8443", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			return err
		}
		t.Cleanup(func() { plain.Close(); secret.Close() })
		go func() { _ = http.Serve(plain, handler) }()
		go func() { _ = http.Serve(secret, handler) }()
		return sshd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sshd.Process.Kill()
		_ = sshd.Wait()
		if t.Failed() {
			t.Logf("the SSH server said:\n%s", said.Bytes())
		}
	})
	return s
}

func (s *site) run(t *testing.T, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, out)
	}
}

// certificate makes one for web.test that nobody else trusts.
func (s *site) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web.test"}, DNSNames: []string{"web.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(s.dir, "ca.pem"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// asked tells whether a page was asked for by a program.
func (s *site) asked(page, program string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.got {
		if strings.HasPrefix(g, page+" ") && strings.Contains(g, program) {
			return true
		}
	}
	return false
}

// Programs that know nothing of jail reach the name that is allowed and fail at once on another.
func TestJailRealPrograms(t *testing.T) {
	world(t)
	s := newSite(t)
	profile := writeProfile(t, fmt.Sprintf(`filesystem:
  - {path: /site, source: %q, mode: ro}
network:
  mode: veth
  egress:
    - allow: "web.test:8000,8443,2222/tcp"
    - allow: web.test/icmp
process: {cwd: /tmp}
`, s.dir))
	ssh := "ssh -F none -p 2222 -i /tmp/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10 guest@"
	cases := []struct {
		name, script, want string
		fails              bool
	}{
		{name: "curl", script: "curl -sS http://web.test:8000/page.html", want: "the page that was asked for"},
		{name: "curl over TLS", script: "curl -sS --cacert /site/ca.pem https://web.test:8443/page.html", want: "the page that was asked for"},
		{name: "git", script: "git clone -q http://web.test:8000/repo.git && cat repo/file", want: "hello"},
		{name: "ssh", script: "cp /site/key /tmp && chmod 600 /tmp/key && " + ssh + "web.test echo from outside", want: "from outside"},
		{name: "ping", script: "ping -c 1 -W 5 web.test", want: "1 received"},
		{name: "dig", script: "dig +short web.test", want: siteAddr},
		{name: "python", script: `python3 -c 'import urllib.request as u; print(u.urlopen("http://web.test:8000/page.html").read().decode())'`, want: "the page that was asked for"},
		{name: "node", script: `node -e 'fetch("http://web.test:8000/page.html").then(r => r.text()).then(console.log)'`, want: "the page that was asked for"},
		{name: "curl to another name", script: "curl -sS http://good.test/", want: "Could not resolve host", fails: true},
		{name: "curl to another port", script: "curl -sS http://web.test:80/", want: "Failed to connect", fails: true},
		{name: "git to another name", script: "git clone -q http://good.test:8000/repo.git", want: "Could not resolve host", fails: true},
		{name: "ssh to another address", script: ssh + "203.0.113.20 true", want: "Connection refused", fails: true},
		{name: "ping of another address", script: "ping -c 1 -W 5 203.0.113.20", want: "Packet filtered", fails: true},
		{name: "dig for another name", script: "dig bad.test", want: "NXDOMAIN"},
		{name: "dig by another resolver", script: "dig +time=3 +tries=1 @203.0.113.53 web.test", want: "no servers could be reached", fails: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// What jail says of the network may come in the middle of a line of the program's.
			cmd := ordinary(need.Jail(t), "-p", profile, "--", "sh", "-c", "exec 2>&1\n"+c.script)
			var said bytes.Buffer
			cmd.Stderr = &said
			begin := time.Now()
			out, err := cmd.Output()
			if (err != nil) != c.fails || !bytes.Contains(out, []byte(c.want)) {
				t.Errorf("%v\n%s\n%s", err, out, said.Bytes())
			}
			if took := time.Since(begin); c.fails && took > 20*time.Second {
				t.Errorf("failed only after %v\n%s\n%s", took, out, said.Bytes())
			}
		})
	}
	if !s.asked("/page.html", "curl") {
		t.Error("the site has seen no curl")
	}
}

// A browser loads a page from an allowed name and fails at once on another.
func TestJailBrowser(t *testing.T) {
	world(t)
	need.Program(t, "chromium")
	s := newSite(t)
	t.Setenv("HOME", t.TempDir())
	profile := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(profile, []byte(`version: 1
name: p
extends: [chromium]
without: {egress: [all]}
network: {mode: veth, egress: [{allow: "web.test:8000"}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(url string) (string, time.Duration) {
		cmd := ordinary("timeout", "120", need.Jail(t), "-p", profile, "--", "chromium", "--headless", "--disable-gpu", "--no-first-run", "--dump-dom", url)
		begin := time.Now()
		out, _ := cmd.CombinedOutput()
		return string(out), time.Since(begin)
	}
	if out, took := load("http://web.test:8000/page.html"); !strings.Contains(out, "the page that was asked for") || !s.asked("/page.html", "Chrome") {
		t.Errorf("after %v\n%s", took, out)
	}
	if out, took := load("http://good.test:8000/page.html"); !strings.Contains(out, "ERR_NAME_NOT_RESOLVED") && !strings.Contains(out, "the name good.test is refused") || strings.Contains(out, "the page that") || took > 60*time.Second {
		t.Errorf("after %v\n%s", took, out)
	}
}
