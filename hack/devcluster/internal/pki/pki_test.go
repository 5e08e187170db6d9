package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raftsman.dev/hack/devcluster/internal/api"
)

// TestCallers lets a server with an issued certificate be called by a client with another, and by one whose
// authority is a stranger.
func TestCallers(t *testing.T) {
	dir := t.TempDir()
	ca, err := New(filepath.Join(dir, "a"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := New(filepath.Join(dir, "b"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Subject{
		{File: "server", User: "server", IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}},
		{File: "client", User: "alice", Groups: []string{"writers"}},
	} {
		if err := ca.Issue(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := stranger.Issue(Subject{File: "client", User: "alice"}); err != nil {
		t.Fatal(err)
	}
	server := serve(t, ca)
	call := func(a *Authority) error {
		c, err := api.New(server.URL, ca.CA(), a.Cert("client"), a.Key("client"))
		if err != nil {
			t.Fatal(err)
		}
		var who struct{ User, Group string }
		if err := c.Get(t.Context(), "/", &who); err != nil {
			return err
		}
		if who.User != "alice" || who.Group != "writers" {
			t.Errorf("the caller is taken for %+v", who)
		}
		return nil
	}
	if err := call(ca); err != nil {
		t.Error(err)
	}
	if err := call(stranger); err == nil {
		t.Error("a client of another authority is served")
	}
	if info, err := os.Stat(ca.Key("client")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file is %v, %v", info.Mode(), err)
	}
}

// serve answers with the caller's name, as its certificate has it.
func serve(t *testing.T, ca *Authority) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(ca.Cert("server"), ca.Key("server"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		_, _ = w.Write([]byte(`{"user":"` + subject.CommonName + `","group":"` + strings.Join(subject.Organization, ",") + `"}`))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestKubeconfig(t *testing.T) {
	ca, err := New(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Issue(Subject{File: "admin", User: "admin"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := ca.Kubeconfig(file, "some-cluster", "https://127.0.0.1:1", "admin"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"server: https://127.0.0.1:1\n", "current-context: some-cluster\n", "client-key-data: LS0tLS1CRUdJTi"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the kubeconfig lacks %q:\n%s", want, text)
		}
	}
	if err := ca.Kubeconfig(file, "c", "https://x", "nobody"); err == nil {
		t.Error("a kubeconfig for nobody is written")
	}
	if err := ca.IssueKey("tokens"); err != nil {
		t.Fatal(err)
	}
	if public, err := os.ReadFile(filepath.Join(ca.Dir, "tokens.pub")); err != nil || !strings.HasPrefix(string(public), "-----BEGIN PUBLIC KEY") {
		t.Errorf("the public key is %q, %v", public, err)
	}
}
