package main

// version is set when the binary is linked (-X main.version=...).
var version = "dev"
