module correlation

go 1.24
