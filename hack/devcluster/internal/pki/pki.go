// Package pki makes the keys and certificates of a dev cluster: one authority, and a certificate for each
// program that speaks to another. They live as long as the cluster and are kept with its state.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

const (
	// validity outlives any dev cluster; backdate forgives a clock that was set while it was made.
	validity = 5 * 365 * 24 * time.Hour
	backdate = time.Hour
	// serialBits is the length of a serial number.
	serialBits = 120
)

// Authority signs, and knows where certificates are kept.
type Authority struct {
	Dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	now  time.Time
}

// Subject is whom a certificate speaks for. One with hosts serves, one without is a client.
type Subject struct {
	File   string // base name of its two files
	User   string
	Groups []string
	Names  []string
	IPs    []netip.Addr
}

// New makes an authority and writes its certificate to dir/ca.crt. Its key is never written: who needs a
// new certificate makes a new cluster.
func New(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "raftsman-devcluster"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &Authority{Dir: dir, cert: cert, key: key, now: now, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return a, os.WriteFile(a.CA(), a.pem, 0o644)
}

// CA is the authority's certificate file.
func (a *Authority) CA() string { return filepath.Join(a.Dir, "ca.crt") }

// Cert and Key are the files of a subject.
func (a *Authority) Cert(file string) string { return filepath.Join(a.Dir, file+".crt") }

// Key is the private key file of a subject.
func (a *Authority) Key(file string) string { return filepath.Join(a.Dir, file+".key") }

// Issue makes a key and a certificate and writes both.
func (a *Authority) Issue(s Subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: s.User, Organization: s.Groups},
		NotBefore: a.now.Add(-backdate), NotAfter: a.now.Add(validity),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: s.Names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(s.Names)+len(s.IPs) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, ip := range s.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", s.User, err)
	}
	if err := a.writeKey(s.File, key); err != nil {
		return err
	}
	return os.WriteFile(a.Cert(s.File), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// IssueKey makes a bare key pair: FILE.key and, its public half, FILE.pub. Service account tokens are
// signed with one.
func (a *Authority) IssueKey(file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := a.writeKey(file, key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return os.WriteFile(filepath.Join(a.Dir, file+".pub"), public, 0o644)
}

func (a *Authority) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(a.Key(file), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// Kubeconfig writes a kubeconfig for the subject whose files are named file, with all keys inside, so that
// it can be copied elsewhere.
func (a *Authority) Kubeconfig(path, cluster, server, file string) error {
	encoded := map[string]string{}
	for name, from := range map[string]string{"cert": a.Cert(file), "key": a.Key(file)} {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		encoded[name] = base64.StdEncoding.EncodeToString(data)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s}
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, cluster, server, base64.StdEncoding.EncodeToString(a.pem), encoded["cert"], encoded["key"])
	return os.WriteFile(path, []byte(text), 0o600)
}
