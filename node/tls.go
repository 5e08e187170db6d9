package node

import (
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"raftsman.dev/node/certs"
)

// handshakeTimeout bounds how long a client may take to speak TLS and HTTP/2.
const handshakeTimeout = 20 * time.Second

// loadCerts reads the client port's certificates, where there are any, and follows them from then on.
func (m *Member) loadCerts() error {
	if !m.cfg.ClientTLS.Given() {
		return nil
	}
	keeper, warnings, err := certs.Load(m.cfg.ClientTLS, time.Now, m.certsChanged)
	if err != nil {
		return err
	}
	m.certs = keeper
	m.warnOfCerts(warnings)
	return nil
}

func (m *Member) warnOfCerts(warnings []string) {
	for _, w := range warnings {
		m.cfg.Log.Info("client certificate", "warning", w)
	}
}

// certsChanged hears of changes of the files while the member runs.
func (m *Member) certsChanged(e certs.Event) {
	if e.Err != nil {
		m.cfg.Log.Error(inOneLine(e.Err), "new client certificates cannot be used: the older stay in force", "expires", e.Expires)
		return
	}
	m.cfg.Log.Info("new client certificates are in use", "expires", e.Expires)
	m.warnOfCerts(e.Warnings)
}

// secured are the options of a client port that speaks TLS, and nothing else.
func (m *Member) secured() []grpc.ServerOption {
	if m.certs == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(m.certs.Server())), grpc.ConnectionTimeout(handshakeTimeout)}
}

// MemberTLS implements etcdapi.Backend. A member without certificates of its own trusts the system's authorities.
func (m *Member) MemberTLS(host string) *tls.Config {
	if m.certs == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	}
	return m.certs.Client(host)
}
