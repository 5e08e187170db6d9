package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"raftsman.dev/node/certs"
)

// stage is a keeper over a secret, with a clock that is set by hand.
type stage struct {
	t *testing.T
	*secret
	files  certs.Files
	keeper *certs.Keeper
	now    time.Time
	events []certs.Event
}

func contents(p pair, ca []byte) map[string][]byte {
	return map[string][]byte{"tls.crt": p.cert, "tls.key": p.key, "ca.crt": ca}
}

func newStage(t *testing.T, p pair, ca []byte) *stage {
	t.Helper()
	s := &stage{t: t, secret: newSecret(t, contents(p, ca)), now: time.Now()}
	s.files = certs.Files{Flags: "--client", Cert: s.path("tls.crt"), Key: s.path("tls.key")}
	if ca != nil {
		s.files.CA = s.path("ca.crt")
	}
	keeper, warnings, err := certs.Load(s.files, func() time.Time { return s.now }, func(e certs.Event) { s.events = append(s.events, e) })
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	s.keeper = keeper
	return s
}

// pass lets the files count as unseen again.
func (s *stage) pass() { s.now = s.now.Add(time.Second) }

// shake is a handshake of the server with a client: what either says, and which certificate the client was shown. The
// client reads a byte, because in TLS 1.3 it learns only afterwards that it was refused.
func shake(t *testing.T, server, client *tls.Config) (shown []byte, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if err = s.SetDeadline(time.Now().Add(20 * time.Second)); err == nil {
			_, err = s.Write([]byte{1})
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		<-done
		return nil, err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	if refused := <-done; err == nil {
		err = refused
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Errorf("the protocol is %q", p)
	}
	return c.ConnectionState().PeerCertificates[0].Raw, err
}

// client is one that trusts what it is shown, and presents that pair if it has one.
func client(t *testing.T, own ...pair) *tls.Config {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	for _, p := range own {
		cert := parse(t, p)
		// Whatever the server asks for: the library would keep a certificate of another authority to itself.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return c
}

func parse(t *testing.T, p pair) tls.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (s *stage) wantShown(what string, p pair) {
	s.t.Helper()
	shown, err := shake(s.t, s.keeper.Server(), client(s.t))
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	if !bytes.Equal(shown, parse(s.t, p).Certificate[0]) {
		s.t.Fatalf("%s: another certificate is shown", what)
	}
}

func (s *stage) wantEvents(what string, says ...string) {
	s.t.Helper()
	if len(s.events) != len(says) {
		s.t.Fatalf("%s: %d events, not %d: %v", what, len(s.events), len(says), s.events)
	}
	for i, word := range says {
		if !strings.Contains(s.events[i].String(), word) {
			s.t.Fatalf("%s: event %q does not say %q", what, s.events[i], word)
		}
	}
	s.events = nil
}

// The certificate follows its files, at most once a second; what cannot be used is reported once and changes nothing.
func TestPairFollowsFiles(t *testing.T) {
	ca := newAuthority(t, "one")
	first, second, third := ca.issue(draft("first")), ca.issue(draft("second")), ca.issue(draft("third"))
	s := newStage(t, first, nil)
	s.wantShown("at the start", first)

	s.swap(contents(second, nil))
	s.wantShown("within the second", first)
	s.pass()
	s.wantShown("after it", second)
	s.wantEvents("swapped", "new certificates are in use")

	s.write("tls.crt", third.cert)
	for range 3 {
		s.pass()
		s.wantShown("half a pair written", second)
	}
	s.wantEvents("half a pair", "--client-key-file "+s.path("tls.key"))
	s.write("tls.key", third.key)
	s.pass()
	s.wantShown("both halves written", third)
	s.wantEvents("both halves", "in use")

	for _, c := range []struct {
		what    string
		content []byte
		says    string
	}{
		{"garbage", []byte("garbage"), "no certificate"},
		{"cut short", append(bytes.Clone(third.cert), second.cert[:len(second.cert)/2]...), "cut short"},
		{"too large", make([]byte, 1<<20+1), "more than 1048576 bytes"},
		{"empty", nil, "no certificate"},
	} {
		s.write("tls.crt", c.content)
		for range 2 {
			s.pass()
			s.wantShown(c.what, third)
		}
		s.wantEvents(c.what, c.says)
	}
	s.must(os.Remove(s.path("tls.crt")))
	for range 2 {
		s.pass()
		s.wantShown("gone", third)
	}
	s.wantEvents("gone", "no such file")

	s.write("tls.crt", third.cert)
	s.pass()
	s.wantShown("back", third)
	s.wantEvents("back", "in use")
	s.swap(contents(first, nil))
	s.now = s.now.Add(-time.Hour)
	s.wantShown("after the clock was put back, through a file that is no link any more", third)
	s.wantEvents("half a swap", "--client-key-file")
}

// Clients must be of an authority of the bundle as it is at their handshake.
func TestClientsFollowBundle(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	own := one.issue(draft("server"))
	ofOne, ofTwo := one.issue(draft("client")), two.issue(draft("client"))
	serving := draft("server only")
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	old := draft("old")
	old.NotAfter = time.Now().Add(-time.Minute)
	s := newStage(t, own, one.pem)
	let := func(what string, in bool, own ...pair) {
		t.Helper()
		if _, err := shake(t, s.keeper.Server(), client(t, own...)); (err == nil) != in {
			t.Fatalf("%s: let in %v, not %v: %v", what, err == nil, in, err)
		}
	}
	let("without a certificate", false)
	let("of the authority", true, ofOne)
	let("of another authority", false, ofTwo)
	let("self-signed", false, selfSigned(t, "client"))
	let("not for clients", false, one.issue(serving))
	let("expired", false, one.issue(old))
	old12 := client(t, ofOne)
	old12.MinVersion, old12.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := shake(t, s.keeper.Server(), old12); err == nil {
		t.Fatal("TLS 1.1 was taken")
	}

	// A client that could resume its session is held to the new authorities like any other.
	resuming := client(t, ofOne)
	resuming.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	if _, err := shake(t, s.keeper.Server(), resuming); err != nil {
		t.Fatal(err)
	}
	s.write("ca.crt", nil)
	s.pass()
	let("empty bundle, of the authority in force", true, ofOne)
	let("empty bundle, without", false)
	s.wantEvents("empty bundle", "--client-ca-file "+s.path("ca.crt"))

	s.swap(contents(own, two.pem))
	s.must(os.Remove(s.path("ca.crt")))
	s.must(os.Symlink(filepath.Join("..data", "ca.crt"), s.path("ca.crt")))
	s.pass()
	let("of the new authority", true, ofTwo)
	let("of the old authority", false, ofOne)
	if _, err := shake(t, s.keeper.Server(), resuming); err == nil {
		t.Fatal("a session of the old authority was resumed")
	}
	if len(s.events) != 1 || len(s.events[0].Warnings) != 1 || !strings.Contains(s.events[0].Warnings[0], "another member will refuse") {
		t.Fatal(s.events)
	}
	s.events = nil

	s.swap(contents(own, append(bytes.Clone(one.pem), two.pem...)))
	s.pass()
	let("both, one", true, ofOne)
	let("both, two", true, ofTwo)

	// The bundle is followed also while the pair cannot be used.
	s.swap(map[string][]byte{"tls.crt": nil, "tls.key": own.key, "ca.crt": two.pem})
	s.pass()
	let("broken pair, of the old authority", false, ofOne)
	let("broken pair, of the new authority", true, ofTwo)
}

// What a member says at the start names the flag, the file and the remedy.
func TestLoadRefuses(t *testing.T) {
	ca := newAuthority(t, "one")
	p, other := ca.issue(draft("p")), ca.issue(draft("other"))
	for _, c := range []struct {
		what      string
		cert, key []byte
		ca        []byte
		without   string
		says      []string
	}{
		{"no certificate", nil, p.key, nil, "", []string{"--client-cert-file", "tls.crt", "no certificate in it"}},
		{"key in the certificate's place", p.key, p.key, nil, "", []string{"--client-cert-file", "tls.crt", "no certificate in it"}},
		{"no key", p.cert, nil, nil, "", []string{"--client-key-file", "tls.key", "give the PEM private key"}},
		{"another's key", p.cert, other.key, nil, "", []string{"--client-key-file", "tls.key", "does not match", "tls.crt"}},
		{"empty bundle", p.cert, p.key, []byte{}, "", []string{"--client-ca-file", "ca.crt", "no certificate in it", "authorities"}},
		{"bundle of garbage", p.cert, p.key, []byte("-----BEGIN"), "", []string{"--client-ca-file", "cut short"}},
		{"missing file", p.cert, p.key, nil, "tls.key", []string{"--client-key-file", "tls.key", "no such file", "may read"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newSecret(t, map[string][]byte{"tls.crt": c.cert, "tls.key": c.key, "ca.crt": c.ca})
			files := certs.Files{Flags: "--client", Cert: s.path("tls.crt"), Key: s.path("tls.key")}
			if c.ca != nil {
				files.CA = s.path("ca.crt")
			}
			if c.without != "" {
				s.must(os.Remove(s.path(c.without)))
			}
			_, _, err := certs.Load(files, time.Now, nil)
			for _, word := range c.says {
				if !strings.Contains(fmt.Sprint(err), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
		})
	}
	for _, c := range []struct {
		files certs.Files
		says  string
	}{
		{certs.Files{Flags: "--client", Cert: "x"}, "--client-key-file"},
		{certs.Files{Flags: "--client", Key: "x"}, "--client-cert-file"},
		{certs.Files{Flags: "--client", CA: "x"}, "--client-ca-file is given without"},
		{certs.Files{Flags: "--client"}, "--client-cert-file is missing"},
		{certs.Files{Flags: "--client", Cert: t.TempDir(), Key: "x"}, "not a file"},
	} {
		if _, _, err := certs.Load(c.files, time.Now, nil); !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%+v: %v", c.files, err)
		}
	}
}

// A certificate that is out of its time is taken, with a warning; so is one that other members will not let in.
func TestLoadWarns(t *testing.T) {
	ca, other := newAuthority(t, "one"), newAuthority(t, "two")
	old, early := draft("old"), draft("early")
	old.NotAfter, early.NotBefore = time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
	for _, c := range []struct {
		p    pair
		ca   []byte
		says string
	}{
		{ca.issue(old), nil, "has expired at"},
		{ca.issue(early), nil, "is not valid before"},
		{ca.issue(draft("x")), other.pem, "another member will refuse"},
	} {
		s := newSecret(t, contents(c.p, c.ca))
		files := certs.Files{Flags: "--client", Cert: s.path("tls.crt"), Key: s.path("tls.key")}
		if c.ca != nil {
			files.CA = s.path("ca.crt")
		}
		_, warnings, err := certs.Load(files, time.Now, nil)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], c.says) || !strings.Contains(warnings[0], "--client-cert-file "+files.Cert) {
			t.Errorf("%v %q, not %q", err, warnings, c.says)
		}
	}
}

// A member trusts a leader by its own certificate or by an authority and the host, and nobody else.
func TestMembersTrust(t *testing.T) {
	one, two := newAuthority(t, "one"), newAuthority(t, "two")
	elsewhere := draft("elsewhere")
	elsewhere.IPAddresses, elsewhere.DNSNames = nil, []string{"elsewhere.example"}
	clientOnly := draft("client only")
	clientOnly.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	shared := selfSigned(t, "group")
	for _, c := range []struct {
		what     string
		own      pair
		ca       []byte
		leader   pair
		leaderCA []byte
		host     string
		trusted  bool
	}{
		{"the same authority", one.issue(draft("a")), one.pem, one.issue(draft("b")), one.pem, "127.0.0.1", true},
		{"another authority", one.issue(draft("a")), one.pem, two.issue(draft("b")), nil, "127.0.0.1", false},
		{"another host", one.issue(draft("a")), one.pem, one.issue(elsewhere), one.pem, "127.0.0.1", false},
		{"that host", one.issue(draft("a")), one.pem, one.issue(elsewhere), one.pem, "elsewhere.example", true},
		{"a client's certificate", one.issue(draft("a")), one.pem, one.issue(clientOnly), one.pem, "127.0.0.1", false},
		{"no bundle", one.issue(draft("a")), nil, one.issue(draft("b")), nil, "127.0.0.1", false},
		{"one self-signed for all", shared, nil, shared, nil, "127.0.0.1", true},
		{"one self-signed for all, and as bundle", shared, shared.cert, shared, shared.cert, "127.0.0.1", true},
		{"another self-signed", shared, nil, selfSigned(t, "group"), nil, "127.0.0.1", false},
		{"the leader does not let it in", one.issue(draft("a")), append(bytes.Clone(one.pem), two.pem...), two.issue(draft("b")), two.pem, "127.0.0.1", false},
		{"no host", one.issue(draft("a")), one.pem, one.issue(draft("b")), one.pem, "", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			member, leader := newQuietStage(t, c.own, c.ca), newQuietStage(t, c.leader, c.leaderCA)
			if _, err := shake(t, leader.keeper.Server(), member.keeper.Client(c.host)); (err == nil) != c.trusted {
				t.Fatalf("trusted %v, not %v: %v", err == nil, c.trusted, err)
			}
		})
	}
}

// newQuietStage is one whose warnings do not matter.
func newQuietStage(t *testing.T, p pair, ca []byte) *stage {
	t.Helper()
	s := newStage(t, p, nil)
	if ca != nil {
		s.write("ca.crt", ca)
		s.files.CA = s.path("ca.crt")
		keeper, _, err := certs.Load(s.files, time.Now, func(certs.Event) {})
		if err != nil {
			t.Fatal(err)
		}
		s.keeper = keeper
	}
	return s
}

// Many handshakes at a time, while the files change, always see a whole pair.
func TestManyHandshakes(t *testing.T) {
	ca := newAuthority(t, "one")
	pairs := []pair{ca.issue(draft("0")), ca.issue(draft("1"))}
	s := newSecret(t, contents(pairs[0], ca.pem))
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
	keeper, _, err := certs.Load(certs.Files{Flags: "--client", Cert: s.path("tls.crt"), Key: s.path("tls.key"), CA: s.path("ca.crt")}, clock, func(e certs.Event) {
		if e.Err != nil {
			t.Error(e)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if _, err := shake(t, keeper.Server(), keeper.Client("127.0.0.1")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 10 {
		s.swap(contents(pairs[i%2], ca.pem))
	}
	wg.Wait()
}
