// Command registry is a container registry of the project Distribution, from its own packages, on a port of loopback that it prints.
//
// `registry DIRECTORY` keeps everything in memory, and runs until it is killed. If DIRECTORY has a file `htpasswd`, who pushes or pulls must be
// in it.
// The original program also brings the storage of three clouds, which is most of its code; nothing of that is built here.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: registry DIRECTORY")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func serve(directory string) error {
	config := &configuration.Configuration{
		Storage: configuration.Storage{"inmemory": configuration.Parameters{}},
	}
	config.Catalog.MaxEntries = 100
	users := filepath.Join(directory, "htpasswd")
	if _, err := os.Stat(users); err == nil {
		config.Auth = configuration.Auth{"htpasswd": configuration.Parameters{"realm": "test", "path": users}}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	app := handlers.NewApp(context.Background(), config)
	fmt.Printf("msg=\"Listening on\" address=%s\n", listener.Addr())
	return http.Serve(listener, app)
}
