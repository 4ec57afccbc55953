"""Rules of training within other packages' loops, one package a file; each needs the package that it is named after."""
