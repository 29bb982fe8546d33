package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// files is what a control plane keeps in its folder; all of it is made once and found again.
type files struct {
	root  string
	Ports ports  `json:"ports"`
	Token string `json:"token"`
}

type ports struct {
	API        int `json:"api"`
	EtcdClient int `json:"etcdClient"`
	EtcdPeer   int `json:"etcdPeer"`
}

func (f *files) certs() string             { return filepath.Join(f.root, "certs") }
func (f *files) tokens() string            { return filepath.Join(f.root, "tokens.csv") }
func (f *files) serviceAccountKey() string { return filepath.Join(f.root, "service-account.key") }
func (f *files) kubeconfig() string        { return filepath.Join(f.root, "kubeconfig") }
func (f *files) settings() string          { return filepath.Join(f.root, "controlplane.json") }

func prepare(root string) (*files, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	f := &files{root: root}
	text, err := os.ReadFile(f.settings())
	if err == nil {
		return f, json.Unmarshal(text, f)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return f, f.create()
}

func (f *files) create() error {
	for _, port := range []*int{&f.Ports.API, &f.Ports.EtcdClient, &f.Ports.EtcdPeer} {
		free, err := freePort()
		if err != nil {
			return err
		}
		*port = free
	}
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	f.Token = hex.EncodeToString(secret)
	line := f.Token + ",admin,admin,system:masters\n"
	if err := os.WriteFile(f.tokens(), []byte(line), 0o600); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(f.serviceAccountKey(), pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return os.WriteFile(f.settings(), text, 0o600)
}

// writeKubeconfig also makes the folder's ready mark: it is renamed into place once all else stands.
func (f *files) writeKubeconfig() error {
	certificate, err := os.ReadFile(filepath.Join(f.certs(), "apiserver.crt"))
	if err != nil {
		return err
	}
	text := strings.NewReplacer(
		"{CA}", base64.StdEncoding.EncodeToString(certificate),
		"{PORT}", fmt.Sprint(f.Ports.API),
		"{TOKEN}", f.Token,
	).Replace(`apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {server: "https://127.0.0.1:{PORT}", certificate-authority-data: "{CA}"}
users:
- name: admin
  user: {token: "{TOKEN}"}
contexts:
- name: test
  context: {cluster: test, user: admin}
`)
	partial := f.kubeconfig() + ".partial"
	if err := os.WriteFile(partial, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(partial, f.kubeconfig())
}

// freePort leaves the port to whoever binds it next; nothing else on the machine is told of it.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func loopback(port int) []url.URL {
	return []url.URL{{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}}
}

func waitUntilReady(f *files, limit time.Duration) error {
	// The certificate does not exist before the server has made it: the first look cannot verify it.
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	request, err := http.NewRequest("GET", fmt.Sprintf("https://127.0.0.1:%d/readyz", f.Ports.API), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+f.Token)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the API server was not ready within %s", limit)
}
