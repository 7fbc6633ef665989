package profiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// The world's addresses: what is granted, what is not, and two of the ranges that "private" stands for.
const (
	goodHost    = "203.0.113.10"
	badHost     = "203.0.113.11"
	nameServer  = "203.0.113.53"
	lanHost     = "192.168.77.1"
	metadata    = "169.254.169.254"
	ownPort     = "127.0.0.1:9000" // a service of the user's own machine
	greetPort   = "9999"           // says hello at every address of W
	worldFolder = "/mnt/www"
)

var makeWorld = sync.OnceValue(func() error {
	script := `
		set -e
		mount --make-rprivate /
		mount -t tmpfs none /mnt
		echo nameserver ` + nameServer + ` > /mnt/resolv.conf && mount --bind /mnt/resolv.conf /etc/resolv.conf
		mkdir /mnt/www /mnt/certs
		ip link set lo up
		ip link add h0 type veth peer name w0
		ip link set w0 netns "$W"
		ip addr add 198.51.100.2/24 dev h0
		ip link set h0 up
		ip route add default via 198.51.100.1
		echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range || echo "$(id -g) $(id -g)" > /proc/sys/net/ipv4/ping_group_range`
	inside := `
		set -e
		ip link set lo up
		ip addr add 198.51.100.1/24 dev w0
		ip link set w0 up
		ip route add default via 198.51.100.2`
	for _, a := range []string{goodHost, badHost, nameServer, lanHost, metadata} {
		inside += "\nip addr add " + a + "/32 dev lo"
	}
	return inWorld(func() error {
		// A process that stays in W, for the script to name it.
		stay := exec.Command("sleep", "infinity")
		stay.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := stay.Start(); err != nil {
			return err
		}
		done := make(chan error)
		go func() { done <- shell(script, "W="+fmt.Sprint(stay.Process.Pid)) }()
		if err := <-done; err != nil {
			return err
		}
		if err := shell(inside); err != nil {
			return err
		}
		defer stay.Process.Kill()
		startInternet()
		return serveInternet()
	}, func() error {
		l, err := net.Listen("tcp", ownPort)
		if err == nil {
			go greet(l)
		}
		return err
	})
})

func shell(script string, env ...string) error {
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// inWorld runs f on a thread in W, which it makes, and after that g in H.
func inWorld(f, g func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // ends with the goroutine; sockets stay where they were made
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		return err
	}
	return g()
}

// onInternet takes what is to be done on a thread that stays in W.
var onInternet = make(chan func())

func startInternet() {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			panic(err)
		}
		unix.Close(fd)
		for f := range onInternet {
			f()
		}
	}()
}

// inInternet does something in W, such as starting a program there.
func inInternet(f func() error) error {
	done := make(chan error)
	onInternet <- func() { done <- f() }
	return <-done
}

// serveInternet answers for everybody in the world: names, web sites over HTTP and HTTPS, and a port that greets.
func serveInternet() error {
	l, err := net.Listen("tcp", ":"+greetPort)
	if err != nil {
		return err
	}
	go greet(l)
	u, err := net.ListenPacket("udp", nameServer+":53")
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", nameServer+":53")
	if err != nil {
		return err
	}
	go func() { _ = (&dns.Server{PacketConn: u, Handler: dns.HandlerFunc(resolve)}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: tcp, Handler: dns.HandlerFunc(resolve)}).ActivateAndServe() }()
	plain, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	secret, err := net.Listen("tcp", ":443")
	if err != nil {
		return err
	}
	config, err := authority("/mnt/certs")
	if err != nil {
		return err
	}
	// Browsers call home, and do not trust the authority; there is nothing to be said about it.
	web := &http.Server{Handler: http.HandlerFunc(website), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(plain) }()
	go func() { _ = web.Serve(tls.NewListener(secret, config)) }()
	return nil
}

func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("hello"))
		c.Close()
	}
}

// resolve knows every name: bad.test and lan.test are where they say, all others are the good host.
func resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	address := goodHost
	switch strings.ToLower(q.Question[0].Name) {
	case "bad.test.":
		address = badHost
	case "lan.test.":
		address = lanHost
	}
	if q.Question[0].Qtype == dns.TypeA {
		rr, err := dns.NewRR(q.Question[0].Name + " 5 A " + address)
		if err == nil {
			m.Answer = append(m.Answer, rr)
		}
	}
	_ = w.WriteMsg(m)
}

// website serves the folder of the host's name, or that of good.test.
func website(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	dir := filepath.Join(worldFolder, filepath.Base(host))
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(worldFolder, "good.test")
	}
	http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
}

// authority makes a certificate authority that this machine trusts, in a folder that is put over /etc/ssl/certs, and
// a server's configuration that has a certificate for every name.
func authority(dir string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "ca-certificates.crt"), text, 0o644); err != nil {
		return nil, err
	}
	if err := shell("mount --bind " + dir + " /etc/ssl/certs"); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	made := map[string]*tls.Certificate{}
	return &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		name := hello.ServerName
		if c := made[name]; c != nil {
			return c, nil
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(len(made) + 2)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), key)
		if err != nil {
			return nil, err
		}
		made[name] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		return made[name], nil
	}}, nil
}

// world makes the world, once.
func world(t *testing.T) {
	t.Helper()
	if err := makeWorld(); err != nil {
		t.Fatalf("make the world: %v", err)
	}
}

// publish puts a file onto a web site of the world.
func publish(t *testing.T, path string, content []byte) {
	t.Helper()
	world(t)
	file := filepath.Join(worldFolder, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// hostService is a web server of the user's own machine.
var hostService = sync.OnceFunc(func() {
	l, err := net.Listen("tcp", "127.0.0.1:9001")
	if err != nil {
		panic(err)
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(website)) }()
})
