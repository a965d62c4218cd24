"""nn.Modules that know no domain."""
