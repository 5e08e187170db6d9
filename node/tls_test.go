package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"raftsman.dev/node/certs"
)

// authority makes certificates; its own is at pem.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// newAuthority makes one, for the host of the bench or for none.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign completes a draft and signs it; without an authority's own certificate, it signs itself.
func (a *authority) sign(draft *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	draft.SerialNumber, draft.NotBefore, draft.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = draft, key
	}
	der, err := x509.CreateCertificate(rand.Reader, draft, parent, key.Public(), parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue makes a certificate and key for 127.0.0.1 and both usages, PEM.
func (a *authority) issue(name string) (cert, key []byte) {
	a.t.Helper()
	_, private, cert := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// client is a client's configuration: it trusts this authority, and presents a certificate of the other one, if any.
func (a *authority) client(own *authority) *tls.Config {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AddCert(a.cert)
	if own != nil {
		pair, err := tls.X509KeyPair(own.issue("client"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return c
}

func (b *bench) write(path string, content []byte) {
	b.t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// tlsFiles writes a member's files, the bundle only if it has authorities.
func (b *bench) tlsFiles(name string, cert, key []byte, clients ...*authority) certs.Files {
	b.t.Helper()
	at := func(kind string) string { return filepath.Join(b.dir, name+"."+kind) }
	f := certs.Files{Cert: at("crt"), Key: at("key")}
	b.write(f.Cert, cert)
	b.write(f.Key, key)
	if len(clients) > 0 {
		f.CA = at("ca")
		b.write(f.CA, clients[0].pem)
	}
	return f
}

// try is one request over a connection of its own.
func (b *bench) try(name string, how credentials.TransportCredentials) error {
	b.t.Helper()
	c, err := grpc.NewClient(b.members[name].ClientAddress(), grpc.WithTransportCredentials(how))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = pb.NewKVClient(c).Range(ctx, &pb.RangeRequest{Key: []byte("k"), Serializable: true})
	return err
}

func (b *bench) refused(what, name string, how credentials.TransportCredentials) {
	b.t.Helper()
	if err := b.try(name, how); status.Code(err) != codes.Unavailable {
		b.t.Fatalf("%s: not refused: %v", what, err)
	}
}

// secure starts one member with TLS, opened to clients.
func (b *bench) secure(files certs.Files, c *tls.Config) {
	b.t.Helper()
	cfg := b.config("a")
	cfg.Form, cfg.ClientTLS = true, files
	b.start(cfg)
	b.wait("the member serves", func() error { return b.try("a", credentials.NewTLS(c)) })
}

// With a certificate the port speaks TLS and nothing else; any client is let in.
func TestTLS(t *testing.T) {
	b, one, two := newBench(t), newAuthority(t, "one"), newAuthority(t, "two")
	cert, key := one.issue("a")
	b.secure(b.tlsFiles("a", cert, key), one.client(nil))
	b.refused("plain text", "a", insecure.NewCredentials())
	b.refused("a client that trusts another authority", "a", credentials.NewTLS(two.client(nil)))
	if urls := b.members["a"].Members()[0].ClientURLs; len(urls) != 1 || urls[0] != "https://"+b.members["a"].ClientAddress() {
		t.Fatalf("clients are told %q", urls)
	}
}

// With a bundle, clients present a certificate of its authority, or are refused. The bundle and the pair follow their
// files while the member runs, and half a pair is not taken.
func TestTLSOfClients(t *testing.T) {
	b, one, two := newBench(t), newAuthority(t, "one"), newAuthority(t, "two")
	cert, key := one.issue("a")
	files := b.tlsFiles("a", cert, key, one)
	ofOne, ofTwo := credentials.NewTLS(one.client(one)), credentials.NewTLS(one.client(two))
	b.secure(files, one.client(one))
	b.refused("plain text", "a", insecure.NewCredentials())
	b.refused("no certificate", "a", credentials.NewTLS(one.client(nil)))
	b.refused("a certificate of another authority", "a", ofTwo)

	b.write(files.CA, two.pem)
	b.wait("clients of the new authority", func() error { return b.try("a", ofTwo) })
	b.refused("a certificate of the authority before", "a", ofOne)

	// Half of the new pair, and at the same time a bundle: once the bundle has been seen, so has the half.
	cert, key = two.issue("a")
	b.write(files.Cert, cert)
	b.write(files.CA, one.pem)
	b.wait("clients of the first authority, the certificate as before", func() error { return b.try("a", ofOne) })
	b.write(files.Key, key)
	b.wait("the new certificate", func() error { return b.try("a", credentials.NewTLS(two.client(one))) })
	b.refused("a client that trusts only the authority of the certificate before", "a", ofOne)
}

// Three members under mutual TLS: a change of the membership by way of a follower goes to the leader, also when
// leadership has moved; and one self-signed certificate that all share will do as well.
func TestTLSBetweenMembers(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			b, one := newBench(t), newAuthority(t, "one")
			cert, key := one.issue("all")
			issue := func(name string) certs.Files {
				if shared {
					return b.tlsFiles(name, cert, key)
				}
				cert, key := one.issue(name)
				return b.tlsFiles(name, cert, key, one)
			}
			b.overTLS(issue, one.client(one))
		})
	}
}

func (b *bench) overTLS(issue func(name string) certs.Files, client *tls.Config) {
	b.t.Helper()
	clusters := map[string]pb.ClusterClient{}
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		cfg := b.config(name)
		cfg.Form, cfg.ClientTLS = i == 0, issue(name)
		m := b.start(cfg)
		conn, err := grpc.NewClient(m.ClientAddress(), grpc.WithTransportCredentials(credentials.NewTLS(client)))
		if err != nil {
			b.t.Fatal(err)
		}
		b.conns = append(b.conns, conn)
		clusters[name] = pb.NewClusterClient(conn)
	}
	b.join(clusters["a"], "b")
	b.join(clusters["a"], "c")
	follower := func() string {
		leader := b.leader()
		for _, name := range []string{"a", "b", "c"} {
			if name != leader && b.members[name] != nil {
				return name
			}
		}
		return ""
	}
	b.join(clusters[follower()], "d")
	b.stop(b.leader())
	b.wait("another leader takes a change by way of a follower", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := clusters[follower()].MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://" + b.members["e"].cfg.AdvertisePeer}, IsLearner: true})
		if status.Code(err) == codes.FailedPrecondition && strings.Contains(err.Error(), "exists") {
			return nil // an earlier try has done it
		}
		return err
	})
}

// What cannot be meant is refused before anything is touched, with the flag, the file and the remedy.
func TestTLSRefusals(t *testing.T) {
	b, one := newBench(t), newAuthority(t, "one")
	cert, key := one.issue("x")
	good := b.tlsFiles("good", cert, key)
	other, _ := one.issue("y")
	mixed := b.tlsFiles("mixed", other, key)
	for _, c := range []struct {
		files     certs.Files
		advertise string
		says      []string
	}{
		{certs.Files{Cert: good.Cert}, "", []string{"--client-cert-file", "--client-key-file", "private key"}},
		{certs.Files{Key: good.Key}, "", []string{"--client-key-file", "--client-cert-file"}},
		{certs.Files{CA: good.Cert}, "", []string{"--client-ca-file", "--client-cert-file"}},
		{mixed, "", []string{"--client-key-file " + mixed.Key, "does not match", mixed.Cert}},
		{good, "http://x:1", []string{"--advertise-client", "https://host:port"}},
		{certs.Files{}, "https://x:1", []string{"--advertise-client", "--client-cert-file"}},
	} {
		cfg := b.config("x")
		cfg.ClientTLS, cfg.AdvertiseClient = c.files, SplitList(c.advertise)
		m, err := Start(cfg)
		if err == nil {
			t.Error("started", m.Stop(context.Background()))
		}
		for _, word := range c.says {
			if !strings.Contains(fmt.Sprint(err), word) {
				t.Errorf("the error does not say %q: %v", word, err)
			}
		}
		if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Error("the data directory was touched:", err)
		}
	}
}
