package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	draft := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.pem = sign(t, draft, draft, a.key, a.key)
	return a
}

func sign(t *testing.T, draft, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, draft, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pair is a certificate with its key, PEM.
type pair struct{ cert, key []byte }

// draft is a certificate to be, for host 127.0.0.1 and both usages, valid for a day.
func draft(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *authority) issue(d *x509.Certificate) pair {
	key := newKey(a.t)
	_, cert := sign(a.t, d, a.cert, key, a.key)
	return pair{cert, keyPEM(a.t, key)}
}

// selfSigned is a certificate of no authority, and for no host.
func selfSigned(t *testing.T, name string) pair {
	d, key := draft(name), newKey(t)
	d.IPAddresses = nil
	_, cert := sign(t, d, d, key, key)
	return pair{cert, keyPEM(t, key)}
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// secret is a directory laid out as a Kubernetes Secret volume: the files are links through ..data, which is swapped as
// a whole.
type secret struct {
	t     *testing.T
	dir   string
	round int
}

func newSecret(t *testing.T, files map[string][]byte) *secret {
	s := &secret{t: t, dir: t.TempDir()}
	s.swap(files)
	for name := range files {
		s.must(os.Symlink(filepath.Join("..data", name), s.path(name)))
	}
	return s
}

func (s *secret) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *secret) path(name string) string { return filepath.Join(s.dir, name) }

// swap puts other contents in place at once, all with the same time.
func (s *secret) swap(files map[string][]byte) {
	s.t.Helper()
	s.round++
	name := "..round-" + string(rune('a'+s.round))
	s.must(os.Mkdir(s.path(name), 0o700))
	for file, content := range files {
		path := filepath.Join(s.path(name), file)
		s.must(os.WriteFile(path, content, 0o600))
		s.must(os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)))
	}
	s.must(os.Symlink(name, s.path("..tmp")))
	s.must(os.Rename(s.path("..tmp"), s.path("..data")))
}

// write changes one file where it is.
func (s *secret) write(name string, content []byte) {
	s.t.Helper()
	s.must(os.WriteFile(s.path(name), content, 0o600))
}
