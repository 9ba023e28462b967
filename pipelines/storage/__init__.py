"""Reading and writing of files on local disks and in object stores."""
